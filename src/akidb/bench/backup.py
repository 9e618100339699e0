"""Backup and restore of one store, compared with SQLite's online backup plus a zip of the copy."""

import io
import shutil
import time
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from akidb.bench.fixtures import DIMENSION, PATH, documents, prepare, vectors
from akidb.bench.measure import Goal, Line, Series, rate_lines, share_of
from akidb.deployment.local import LocalOperations, open_local, restore_local
from akidb.operations.archives import CreateBackup
from akidb.operations.documents import UpsertDocuments
from akidb.settings import load
from akidb.sql.sqlite_library import library

if TYPE_CHECKING:
    from collections.abc import Callable

SUITE = "backup"
DOCUMENTS = 20_000
BATCH = 2_000
ROUNDS = 5
SIDES = ("akidb", "sqlite3 backup + zip")


def run(*, count: int = DOCUMENTS, rounds: int = ROUNDS) -> list[Line]:
    """Return the results of this suite."""
    with TemporaryDirectory(prefix="akidb-bench-") as scratch:
        place = Path(scratch)
        operations = open_local(place / "data", load())
        try:
            _fill(operations, count)
            sizes, taken = _measure(operations, place, rounds)
        finally:
            operations.close()
    what = f"{count:,} x {DIMENSION} with text and metadata"
    size = f"file of {what}"
    return [
        *_rates(f"back up {what}", taken["back up"], count, share_of(SIDES[1], 1.0)),
        *_rates(f"restore {what}", taken["restore"], count, None),
        *(
            Line(suite=SUITE, work=size, side=side, p50=sizes[side] / 1e6, p95=None, unit="MB")
            for side in SIDES
        ),
    ]


def _rates(work: str, taken: dict[str, Series], count: int, goal: Goal | None) -> list[Line]:
    megabytes = count * DIMENSION * 4 // 1_000_000
    return [
        *rate_lines(SUITE, work, taken, count, "documents/s", goal),
        *rate_lines(SUITE, work, taken, megabytes, "MB/s of vectors", None),
    ]


def _fill(operations: LocalOperations, count: int) -> None:
    prepare(operations)
    rows = vectors(count)
    for first in range(0, count, BATCH):
        operations.perform(
            UpsertDocuments(**PATH._asdict(), documents=documents(first, rows[first : first + BATCH]))
        )


def _measure(
    operations: LocalOperations, place: Path, rounds: int
) -> tuple[dict[str, int], dict[str, dict[str, Series]]]:
    """Return the size of each side's file, and the times to write and to restore it."""
    (store,) = (place / "data" / "tenants").glob("*.db")
    archive, zipped = place / "archive", place / "zip"
    works: dict[tuple[str, str], Callable[[], object]] = {
        ("back up", SIDES[0]): lambda: _back_up(operations, archive),
        ("back up", SIDES[1]): lambda: _zip(store, place / "copy.db", zipped),
        ("restore", SIDES[0]): lambda: _restore(archive, place / "restored"),
        ("restore", SIDES[1]): lambda: _unzip(zipped, place / "unzipped"),
    }
    taken: dict[tuple[str, str], list[float]] = {key: [] for key in works}
    for _ in range(rounds):
        for key, work in works.items():
            began = time.perf_counter()
            work()
            taken[key].append(time.perf_counter() - began)
    sizes = {SIDES[0]: archive.stat().st_size, SIDES[1]: zipped.stat().st_size}
    series = {verb: {side: Series(taken[verb, side]) for side in SIDES} for verb in ("back up", "restore")}
    return sizes, series


def _back_up(operations: LocalOperations, path: Path) -> None:
    with path.open("wb") as target:
        operations.perform(CreateBackup(), sink=target)


def _restore(archive: Path, place: Path) -> None:
    restore_local(place, load(), io.BytesIO(archive.read_bytes()))
    shutil.rmtree(place)


def _zip(store: Path, copy: Path, path: Path) -> None:
    """The obvious script: a consistent copy, deflated, without any checks."""
    source, target = library.connect(str(store)), library.connect(str(copy))
    source.backup(target)
    source.close()
    target.close()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.write(copy)
    copy.unlink()


def _unzip(path: Path, place: Path) -> None:
    with zipfile.ZipFile(path) as opened:
        opened.extractall(place)
    shutil.rmtree(place)
