"""`akidb bench search`: measures search with AkiDB and every installed engine, and prints the tables."""

import argparse
import os
import platform
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from akidb.bench.search import collections, data, http, loading, searching, wordnet
from akidb.bench.search.crew import Hire, Process
from akidb.bench.search.data import DataSet
from akidb.bench.search.peers import ENGINES, installed
from akidb.bench.search.stage import QUICK, Plan, Run, setting_name
from akidb.bench.search.tables import Table, text
from akidb.settings import load

TABLES: dict[str, Callable[[Run], list[Table]]] = {
    "load": loading.load,
    "memory": loading.memory,
    "first": loading.first,
    "path": searching.path,
    "search": searching.unfiltered,
    "filters": searching.filters,
    "http": http.http,
    "collections": collections.collections,
    "deleted": searching.deleted,
    "loading": loading.while_loading,
}
"""In this order: the last two change the documents."""
QUICK_DOCUMENTS = 2000
QUICK_DIMENSION = 32
SEEDED_DOCUMENTS = 50_000


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured."""

    only: tuple[str, ...] = ()
    engines: tuple[str, ...] = ()
    data: str = "wordnet"
    documents: int | None = None
    collections: int | None = None
    quick: bool = False


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The tables of a run."""

    machine: str
    engines: dict[str, str | None]
    """The version of each; None: not installed."""
    tables: list[Table]
    failures: list[str]


def main(argv: Sequence[str]) -> int:
    """Run `akidb bench search` with these arguments; return the exit status."""
    parser = _parser()
    try:
        given = parser.parse_args(argv)
    except SystemExit as stopped:
        return int(stopped.code or 0)
    options = Options(
        only=tuple(given.only or ()),
        engines=tuple(given.engine or ()),
        data=given.data,
        documents=given.documents,
        collections=given.collections,
        quick=given.quick,
    )
    show = _silent if given.json else _print
    try:
        report = measure(options, picture=given.plot, show=show)
    except (wordnet.MissingData, _Wrong) as error:
        print(f"akidb bench search: {error}", file=sys.stderr)
        return 2
    print(msgspec.json.encode(report).decode() if given.json else f"\n{summary(report)}")
    return 0


def measure(
    options: Options,
    *,
    picture: Path | None = None,
    hire: Hire = Process,
    show: Callable[[Table], None],
) -> Report:
    """Measure the engines and return the tables, each shown when it is made; draw the picture if wanted.

    Raises MissingData if the texts are not there and their package is not installed.
    """
    versions = {
        name: version for name, version in installed().items() if name in (options.engines or ENGINES)
    }
    if picture is not None:
        _require_matplotlib()
    engines = [name for name, version in versions.items() if version is not None]
    plan = QUICK if options.quick else Plan()
    if options.collections is not None:
        plan = msgspec.structs.replace(plan, collections=options.collections)
    tables: list[Table] = []
    with TemporaryDirectory(prefix="akidb-bench-", ignore_cleanup_errors=True) as name:
        scratch = Path(name)
        run = Run(_data(options, scratch / "data"), scratch, engines, plan, hire)
        try:
            for wanted, make in TABLES.items():
                if not options.only or wanted in options.only:
                    made = make(run)
                    tables += made
                    for table in made:
                        show(table)
            if picture is not None:
                _draw(run, picture)
        finally:
            run.close()
        if run.curves:
            tables.append(_curves(run))
            show(tables[-1])
        return Report(machine=_machine(), engines=versions, tables=tables, failures=run.failures)


def summary(report: Report) -> str:
    """Return what is not in the tables: the machine, the engines, what could not be measured."""
    there = [f"{name} {version}" for name, version in report.engines.items() if version is not None]
    missing = [name for name, version in report.engines.items() if version is None]
    lines = [report.machine, f"Engines: {', '.join(there)}"]
    if missing:
        lines.append(f"Not installed (pip install 'akidb[peers]'): {', '.join(missing)}")
    if report.failures:
        lines += ["Not measured:", *report.failures]
    return "\n".join(lines)


def _print(table: Table) -> None:
    print(f"\n{text(table)}", flush=True)


def _silent(_: Table) -> None:
    """Show nothing before the end."""


class _Wrong(Exception):
    """An option cannot be obeyed."""


def _data(options: Options, folder: Path) -> DataSet:
    folder.mkdir(parents=True)
    if options.quick:
        return data.seeded(folder, options.documents or QUICK_DOCUMENTS, QUICK_DIMENSION, questions=100)
    if options.data == "seeded":
        return data.seeded(folder, options.documents or SEEDED_DOCUMENTS)
    found = wordnet.cached(wordnet.cache_folder(), load())
    return data.wordnet(folder, found.glosses, found.vectors, options.documents)


def _draw(run: Run, picture: Path) -> None:
    from akidb.bench.search.plot import plot

    if not run.curves:
        for worker in run.all_loaded().values():
            run.curve(worker)
    title = f"{run.data.described.name}, {run.data.count:,} x {run.data.dimension}, top 10"
    plot(picture, run.curves, title)


def _require_matplotlib() -> None:
    if find_spec("matplotlib") is None:
        raise _Wrong("--plot needs matplotlib: pip install 'akidb[peers]'")


def _curves(run: Run) -> Table:
    rows: list[list[str | float | int | None]] = [
        [engine, setting_name(engine, point.setting), point.recall, point.rate]
        for engine, points in run.curves.items()
        for point in points
    ]
    columns = ("engine", "setting", "recall", "searches/s")
    return Table(
        name="curve", title="curve: recall and speed, each question once", columns=columns, rows=rows
    )


def _machine() -> str:
    model = ""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor() or platform.machine()
    busy = f", load {os.getloadavg()[0]:.1f} at the end"
    return f"{model}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}{busy}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="akidb bench search",
        description="Measure search with AkiDB and every installed engine on the same data.",
    )
    parser.add_argument(
        "--only",
        action="append",
        choices=list(TABLES),
        metavar="TABLE",
        help=f"only this table (repeatable): {', '.join(TABLES)}",
    )
    parser.add_argument(
        "--engine",
        action="append",
        choices=list(ENGINES),
        metavar="ENGINE",
        help=f"only this engine (repeatable): {', '.join(ENGINES)}",
    )
    parser.add_argument(
        "--data",
        choices=["wordnet", "seeded"],
        default="wordnet",
        help="the glosses of WordNet (384 dimensions), or a seeded set of 768 dimensions",
    )
    parser.add_argument(
        "--documents",
        type=_positive,
        help=f"number of documents; by default all of WordNet's, or {SEEDED_DOCUMENTS:,} of the seeded set",
    )
    parser.add_argument("--collections", type=_positive, help="number of small collections (10,000)")
    parser.add_argument(
        "--quick", action="store_true", help="a small seeded set, in seconds; the figures mean little"
    )
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw recall against speed, such as to out.png"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON value")
    return parser


def _positive(given: str) -> int:
    value = int(given)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value
