"""No write to a removed store is acknowledged, even through a handle opened before the removal."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from samples import Clock, Shelf, batch, document

from akidb.documents import sqlite
from akidb.documents.sqlite_pool import SqliteTenantStores
from akidb.domain.errors import AkiDBError, NotFound, Unavailable
from akidb.domain.ids import IdGenerator
from akidb.ports.stores import TenantStore, TenantStores
from akidb.sql import group_commit
from akidb.sql.sqlite import SqliteFile


def write(store: TenantStore, shelf: Shelf) -> None:
    with store.transaction(shelf.collection.collection_id) as writer:
        writer.upsert(batch([document("b")]))


def read(store: TenantStore, shelf: Shelf) -> None:
    with store.read(shelf.collection.collection_id) as reader:
        reader.count(None)


USES: dict[str, Callable[[TenantStore, Shelf], Any]] = {
    "a write": write,
    "a read": read,
    "a change of its tenant": lambda store, shelf: store.apply(shelf.tenant, []),
    "its usage": lambda store, shelf: store.usage(),
    "its control row": lambda store, shelf: store.control_state(),
}


@pytest.mark.parametrize("name", USES)
def test_open_handle_to_removed_store_is_refused(name: str, shelf: Shelf, stores: TenantStores) -> None:
    shelf.upsert(document("a"))
    with shelf.open() as held:
        stores.remove(shelf.tenant.tenant_id)
        with pytest.raises((Unavailable, NotFound)):
            USES[name](held, shelf)
        assert stores.names() == []
    assert stores.names() == []


@pytest.fixture
def files(tmp_path: Path) -> Iterator[SqliteTenantStores]:
    made = SqliteTenantStores(tmp_path / "stores", max_open=8)
    (tmp_path / "stores").mkdir()
    yield made
    made.close()


def until(waiting: int, file: SqliteFile) -> None:
    """Wait until so many are in the queue before a file."""
    while file.gate.waiting < waiting:
        time.sleep(0.001)


class Late:
    """A write in a thread, and what it was answered."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.answer: BaseException | None = None
        self._work = work
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._work()
        except AkiDBError as error:
            self.answer = error

    def ends(self) -> BaseException | None:
        self._thread.join()
        return self.answer


def test_write_queued_behind_store_removal_raises_not_found(
    files: SqliteTenantStores, clock: Clock, ids: IdGenerator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "MAX_SECONDS", 600)  # all of them share a commit, however slow
    shelf = Shelf(files, clock, ids)
    collection_id, tenant_id = shelf.collection.collection_id, shelf.tenant.tenant_id
    opened = files._entries[tenant_id].store
    assert opened is not None
    with shelf.open() as held:
        with held.transaction(collection_id) as writer:
            writer.upsert(batch([document("before")]))
            remover = Late(lambda: files.remove(tenant_id))
            until(1, opened._file)
            late = Late(lambda: write(held, shelf))
            until(2, opened._file)
        answer = late.ends()
        assert remover.ends() is None
    assert isinstance(answer, NotFound), answer
    assert answer.fields["entity"] == "collection"
    assert list((tmp_path / "stores").iterdir()) == []


def test_store_rejects_writes_before_files_are_removed(
    files: SqliteTenantStores, clock: Clock, ids: IdGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it cannot be marked: a full disk, a damaged file."""
    shelf = Shelf(files, clock, ids)
    tried: list[str] = []
    remove_files = sqlite.remove_files

    def remove_then(path: Path) -> None:
        assert path.exists()
        try:
            write(held, shelf)
        except AkiDBError as error:
            tried.append(type(error).__name__)
        remove_files(path)

    def fail(_store: object) -> None:
        raise Unavailable("the disk is full")

    monkeypatch.setattr(f"{SqliteTenantStores.__module__}.remove_files", remove_then)
    with shelf.open() as held:
        files.remove(shelf.tenant.tenant_id)
    files.create(shelf.tenant.tenant_id, shelf.store_id)
    shelf.apply()
    monkeypatch.setattr(sqlite.SqliteTenantStore, "retire", fail)
    with shelf.open() as held:
        files.remove(shelf.tenant.tenant_id)
    assert tried == ["Unavailable", "Unavailable"]
    assert files.names() == []
