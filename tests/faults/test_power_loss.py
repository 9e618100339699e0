"""A power loss may lose unsynced data, but never acknowledged writes."""

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import writing_child
from fault_tools import add_tenant, at, document, opened
from history import History
from lost_power import lose_power
from writing_child import TENANTS

from akidb.deployment.local import METADATA_NAME, TENANTS_NAME
from akidb.operations.documents import UpsertDocuments
from akidb.operations.upkeep import CheckStores
from akidb.sql.sqlite_library import _engine, library
from children import child

LOSSES = 3
"""Different losses at each moment."""


@contextmanager
def _connections() -> Iterator[list[tuple[Any, ...]]]:
    """What every new connection says of itself: its journal, and its synchronous setting."""
    said: list[tuple[Any, ...]] = []

    def connected(connection: Any, _record: object) -> None:
        ask = [connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
        said.append((*ask,))

    sa.event.listen(_engine, "connect", connected)
    try:
        yield said
    finally:
        sa.event.remove(_engine, "connect", connected)


@pytest.mark.parametrize(("synchronous", "number"), [("full", 2), ("normal", 1)])
def test_every_store_connection_syncs_commits(synchronous: str, number: int, tmp_path: Path) -> None:
    with _connections() as said:
        for _ in range(2):
            with opened(tmp_path / "data", synchronous=synchronous) as operations:
                slug = f"t{len(said)}"
                add_tenant(operations, slug, "c")
                operations.perform(UpsertDocuments(**at(slug)._asdict(), documents=[document("x")]))
                operations.perform(CheckStores())
    assert len(said) >= 5
    assert set(said) == {("wal", number)}


def test_sqlite_is_built_with_directory_sync() -> None:
    connection = library.connect(":memory:")
    options = {row[0] for row in connection.execute("PRAGMA compile_options")}
    connection.close()
    assert not {option for option in options if option.startswith(("DISABLE_DIRSYNC", "NO_SYNC"))}


def _copy(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


def _stores(directory: Path) -> list[Path]:
    return [directory / METADATA_NAME, *sorted((directory / TENANTS_NAME).glob("*.db"))]


@pytest.mark.parametrize("moments", [15, pytest.param(100, marks=pytest.mark.slow)])
def test_acknowledged_writes_survive_loss_of_unsynced_data(moments: int, tmp_path: Path) -> None:
    rng = random.Random(f"power {moments}")
    data = tmp_path / "data"
    with opened(data) as operations:
        for tenant in TENANTS:
            add_tenant(operations, tenant, "x", "y", storage_quota_bytes=10**12)
    history, spoilt = History(), 0
    reading, writing = Pipe(duplex=False)
    with reading, child(writing_child.run, data, moments, {}, writing) as process:
        writing.close()
        history.note(*reading.recv())
        for moment in range(moments):
            deadline = time.monotonic() + rng.uniform(0.01, 0.15)
            while (left := deadline - time.monotonic()) > 0:
                if reading.poll(left):
                    history.note(*reading.recv())
            assert process.pid is not None
            os.kill(process.pid, signal.SIGSTOP)
            time.sleep(0.02)  # for what is in the kernel
            while reading.poll():
                history.note(*reading.recv())
            for number in range(LOSSES):
                copy = _copy(data, tmp_path / f"{moment}-{number}")
                spoilt += sum(lose_power(store, rng) for store in _stores(copy))
                history.check(copy)
                shutil.rmtree(copy)
            os.kill(process.pid, signal.SIGCONT)
    print(f"{moments} moments, {history.acknowledged} writes acknowledged, {spoilt} bytes spoilt")
    assert history.acknowledged > moments
    assert spoilt > 0


def test_loss_of_synced_data_is_detected(tmp_path: Path) -> None:
    """Proves that the test above can fail: removing the whole WAL loses acknowledged writes."""
    data = tmp_path / "data"
    with opened(data) as operations:
        for tenant in TENANTS:
            add_tenant(operations, tenant, "x", "y", storage_quota_bytes=10**12)
    history = History()
    reading, writing = Pipe(duplex=False)
    with reading, child(writing_child.run, data, 0, {}, writing) as process:
        writing.close()
        while history.acknowledged < 40:
            history.note(*reading.recv())
        process.kill()
        process.join()
    for store in _stores(data):
        store.with_name(f"{store.name}-wal").write_bytes(b"")
    with pytest.raises(AssertionError, match="lost something"):
        history.check(data)
