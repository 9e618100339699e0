"""Runs the suites and prints the results."""

import argparse
import platform
import sys

import msgspec

from akidb.bench import backup, documents, embedding, http, metadata, migration, neighbours, startup
from akidb.bench.measure import Line, table
from akidb.sql.sqlite_library import library

SUITES = {
    "metadata": metadata.run,
    "migration": migration.run,
    "documents": documents.run,
    "http": http.run,
    "backup": backup.run,
    "embedding": embedding.run,
    "startup": startup.run,
    "neighbours": neighbours.run,
}


def run(argv: list[str]) -> int:
    """Run the suites named in `argv`, by default all; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="akidb bench",
        description="Measure AkiDB on this machine.",
        epilog="Search beside other engines has its own options: akidb bench search --help",
    )
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"one of {', '.join(SUITES)}")
    parser.add_argument("--json", action="store_true", help="print one JSON value")
    parser.add_argument(
        "--only",
        action="append",
        choices=list(neighbours.ATTACKS),
        metavar="ATTACK",
        help=f"of neighbours, only this attack (repeatable): {', '.join(neighbours.ATTACKS)}",
    )
    parser.add_argument(
        "--seconds", type=float, default=neighbours.SECONDS, help="how long an attack of neighbours lasts"
    )
    try:
        given = parser.parse_args(argv)
    except SystemExit as stopped:
        return int(stopped.code or 0)
    unknown = [name for name in given.suites if name not in SUITES]
    if unknown:
        print(f"akidb bench: unknown suite {unknown[0]!r}; known: {', '.join(SUITES)}", file=sys.stderr)
        return 2
    lines: list[Line] = []
    for name in given.suites or SUITES:
        print(f"{name} ...", file=sys.stderr, flush=True)
        if name == neighbours.SUITE:
            lines += neighbours.run(given.only or (), seconds=given.seconds)
        else:
            lines += SUITES[name]()
    if given.json:
        print(msgspec.json.encode({"machine": _machine(), "lines": lines}).decode())
    else:
        print(f"{_machine()}\nDurability: WAL, synchronous=FULL on both sides; Chroma as it comes.")
        print(f"Chroma: {_chroma()}\n")
        print(table(lines))
        attacked = [line for line in lines if line.suite == neighbours.SUITE]
        if attacked:
            print(f"\n{neighbours.summary(attacked)}")
    return 0


def _machine() -> str:
    import os

    return (
        f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()},"
        f" Python {platform.python_version()}, SQLite {library.sqlite_version}"
    )


def _chroma() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("chromadb")
    except PackageNotFoundError:
        return "not installed (pip install 'akidb[bench]'), so it is skipped"
