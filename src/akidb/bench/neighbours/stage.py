"""The stage of an attack: a data directory with a quiet and a greedy tenant, and a server process on it."""

import random
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from akidb.bench.fixtures import documents, vectors
from akidb.bench.neighbours import attacks
from akidb.bench.neighbours.attacks import Attack
from akidb.bench.server import Serving, serving
from akidb.deployment.local import LocalOperations, open_local
from akidb.operations.archives import ExportTenant
from akidb.operations.collections import CreateCollection
from akidb.operations.databases import CreateDatabase
from akidb.operations.documents import UpsertDocuments
from akidb.operations.tenants import CreateTenant
from akidb.operations.users import CreateUser
from akidb.settings import load

QUIET_DOCUMENTS = 1_000
SMALL_DOCUMENTS = 20_000
LARGE_BYTES = 1_000_000
LARGE_DIMENSION, ARCHIVED_DOCUMENTS = attacks.DIMENSION, 200
GREEDY_STORAGE_BYTES = 1_000_000_000


class Stage(NamedTuple):
    """A server with the tenants, and the folder of files for the attacker."""

    server: Serving
    folder: Path

    def disk_bytes(self) -> int:
        """Return the disk space of the data directory and of the server's unlinked files (on Linux)."""
        found = 0
        for path in (self.folder / "data").rglob("*"):
            with suppress(FileNotFoundError):
                found += path.stat().st_blocks * 512
        for path in Path(f"/proc/{self.server.pid}/fd").glob("*"):
            with suppress(OSError):
                status = path.stat()
                if stat.S_ISREG(status.st_mode) and status.st_nlink == 0:
                    found += status.st_blocks * 512
        return found

    def memory_bytes(self, *, peak: bool) -> int | None:
        """Return the resident memory of the server, or its peak; None where there is no /proc."""
        wanted = "VmHWM:" if peak else "VmRSS:"
        try:
            lines = Path(f"/proc/{self.server.pid}/status").read_text().splitlines()
        except FileNotFoundError:
            return None
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(wanted))


@contextmanager
def stage(attack: Attack, *, scale: float = 1.0) -> Iterator[Stage]:
    """Prepare the stage of an attack; with a smaller `scale`, with fewer documents."""
    with TemporaryDirectory(prefix="akidb-bench-") as folder:
        place = Path(folder)
        operations = open_local(place / "data", load())
        try:
            _fill(operations, attack, place, scale)
        finally:
            operations.close()
        with serving(place / "data", descriptors=attack.descriptors) as server:
            yield Stage(server, place)


def _fill(operations: LocalOperations, attack: Attack, place: Path, scale: float) -> None:
    for name in ("quiet", "greedy"):
        operations.perform(CreateTenant(name=name))
        operations.perform(CreateDatabase(tenant=name, name="kb"))
    _collection(operations, "quiet", "notes", 384)
    rows = vectors(QUIET_DOCUMENTS)
    _write(operations, "quiet", "notes", documents(0, rows))
    operations.perform(CreateUser(tenant="greedy", email=attacks.USER, password="correct horse"))
    if "vectors" in attack.needs:
        _collection(operations, "greedy", "vectors", 384)
    if "small" in attack.needs:
        _collection(operations, "greedy", "small", attacks.DIMENSION)
        written = max(1, int(SMALL_DOCUMENTS * scale))
        for first in range(0, written, 10_000):
            _write(operations, "greedy", "small", _small(first, min(10_000, written - first)))
    if {"large", "archive"} & set(attack.needs):
        _collection(operations, "greedy", "large", attacks.DIMENSION)
        for first in range(0, max(1, int(attacks.LARGE_DOCUMENTS * scale)), 20):
            _write(operations, "greedy", "large", _large(first, 20))
    if "archive" in attack.needs:
        with (place / attacks.ARCHIVE_NAME).open("wb") as sink:
            operations.perform(ExportTenant(tenant="greedy"), sink=sink)


def _collection(operations: LocalOperations, tenant: str, name: str, dimension: int) -> None:
    operations.perform(CreateCollection(tenant=tenant, database="kb", name=name, dimension=dimension))


def _write(operations: LocalOperations, tenant: str, collection: str, batch: list[dict[str, Any]]) -> None:
    operations.perform(UpsertDocuments(tenant=tenant, database="kb", collection=collection, documents=batch))


def _small(first: int, count: int) -> list[dict[str, Any]]:
    rows = vectors(count, seed=first)[:, : attacks.DIMENSION]
    return [
        {"id": f"small-{first + i}", "vector": row, "metadata": {"kind": f"kind {i % 7}", "n": first + i}}
        for i, row in enumerate(rows)
    ]


def _large(first: int, count: int) -> list[dict[str, Any]]:
    """Return documents of a megabyte that hardly shrink when they are compressed."""
    generator = random.Random(first)
    rows = vectors(count, seed=first)[:, : attacks.DIMENSION]
    return [
        {"id": f"large-{first + i}", "vector": row, "text": generator.randbytes(LARGE_BYTES // 2).hex()}
        for i, row in enumerate(rows)
    ]
