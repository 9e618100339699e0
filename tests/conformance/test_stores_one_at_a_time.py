"""Preparing, creating and removing a store are mutually exclusive across processes."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from samples import Clock, Shelf, document

from akidb.documents import sqlite
from akidb.documents.postgresql import PostgresTenantStores
from akidb.documents.sqlite_pool import SqliteTenantStores
from akidb.domain.errors import Unavailable
from akidb.domain.ids import IdGenerator, TenantId
from akidb.ports.stores import TenantStore, TenantStores

POOL = SqliteTenantStores.__module__
Act = Callable[[TenantStores, Shelf], None]


def nothing(_store: TenantStore) -> None:
    pass


def tell(stores: TenantStores, shelf: Shelf) -> None:
    with stores.open(shelf.tenant.tenant_id, shelf.store_id, nothing):
        pass


def remove(stores: TenantStores, shelf: Shelf) -> None:
    stores.remove(shelf.tenant.tenant_id)


def remove_unused(stores: TenantStores, shelf: Shelf) -> None:
    stores.remove_unused(shelf.tenant.tenant_id)


def fill(stores: TenantStores, shelf: Shelf) -> None:
    try:
        with stores.filling(shelf.tenant.tenant_id, shelf.store_id):
            pass
    except Unavailable:  # there is one
        pass


def hold(stores: TenantStores, shelf: Shelf) -> None:
    with stores.exclusive(shelf.tenant.tenant_id):
        pass


ACTS: dict[str, Act] = {
    "tells it": tell,
    "removes it": remove,
    "removes it if it is unused": remove_unused,
    "fills it": fill,
    "holds it": hold,
}


@pytest.fixture
def pair(postgres_url: str) -> Iterator[tuple[PostgresTenantStores, PostgresTenantStores]]:
    """The stores as opened by two processes."""
    one, other = (PostgresTenantStores(postgres_url, max_open=8) for _ in range(2))
    yield one, other
    one.close()
    other.close()


class Other:
    """Somebody else, in a thread, who does something to the same store."""

    def __init__(self, act: Callable[[], None], is_waiting: Callable[[], bool]) -> None:
        self.done = threading.Event()
        self._act = act
        self._is_waiting = is_waiting
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._act()
        finally:
            self.done.set()

    def starts(self) -> bool:
        """Begin it; tells whether it went through, rather than waiting for the store."""
        self._thread.start()
        while not (self.done.is_set() or self._is_waiting()):
            time.sleep(0.001)
        return self.done.is_set()

    def ends(self) -> None:
        self._thread.join()


def waits_on_server(url: str) -> bool:
    """Whether anybody waits for a tenant's lock."""
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database ="
            " (SELECT oid FROM pg_database WHERE datname = current_database())"
        ).fetchone()
        return found is not None and found[0] > 0


@pytest.mark.parametrize("name", ACTS)
@pytest.mark.parametrize("held", ["told", "held", "filled"])
def test_other_process_waits_while_store_is_prepared_or_exclusive(
    name: str,
    held: str,
    pair: tuple[PostgresTenantStores, PostgresTenantStores],
    postgres_url: str,
    clock: Clock,
    ids: IdGenerator,
) -> None:
    one, other = pair
    shelf = Shelf(one, clock, ids)
    somebody = Other(lambda: ACTS[name](other, shelf), lambda: waits_on_server(postgres_url))
    went_through: list[bool] = []
    tenant_id = shelf.tenant.tenant_id

    def prepare(_store: TenantStore) -> None:
        went_through.append(somebody.starts())

    if held == "told":
        one.mark_stale(tenant_id)
        with one.open(tenant_id, shelf.store_id, prepare):
            pass
    elif held == "held":
        with one.exclusive(tenant_id):
            went_through.append(somebody.starts())
    else:
        one.remove(tenant_id)
        with one.filling(tenant_id, shelf.store_id):
            went_through.append(somebody.starts())
    somebody.ends()
    assert went_through == [False]


def is_locked(stores: SqliteTenantStores, tenant_id: TenantId) -> bool:
    """Whether a thread other than this one has the tenant's place in the table."""
    lock = stores._entries[tenant_id].lock
    if lock.acquire(blocking=False):
        lock.release()
        return False
    return True


def seen_by_another(stores: SqliteTenantStores, tenant_id: TenantId) -> bool:
    """What a thread beside this one finds."""
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(is_locked(stores, tenant_id)))
    thread.start()
    thread.join()
    return found[0]


def test_file_store_is_locked_while_prepared_created_or_removed(
    tmp_path: Any, clock: Clock, ids: IdGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    stores = SqliteTenantStores(tmp_path, max_open=8)
    shelf = Shelf(stores, clock, ids)
    tenant_id = shelf.tenant.tenant_id
    seen: list[bool] = []

    def look(*_: Any) -> None:
        seen.append(seen_by_another(stores, tenant_id))

    def looking(real: Callable[..., Any]) -> Callable[..., Any]:
        def look_then(*arguments: Any, **named: Any) -> Any:
            look()
            return real(*arguments, **named)

        return look_then

    stores.mark_stale(tenant_id)
    with stores.open(tenant_id, shelf.store_id, look):
        assert not seen_by_another(stores, tenant_id)
    with stores.exclusive(tenant_id):
        look()
    monkeypatch.setattr(f"{POOL}.remove_files", looking(sqlite.remove_files))
    monkeypatch.setattr(f"{POOL}.remove_unused", looking(sqlite.remove_unused))
    create = sqlite.SqliteTenantStore.create
    monkeypatch.setattr(sqlite.SqliteTenantStore, "create", staticmethod(looking(create)))
    stores.remove(tenant_id)
    stores.create(tenant_id, shelf.store_id)
    stores.remove_unused(tenant_id)
    with stores.filling(tenant_id, shelf.store_id):
        look()
    assert seen == [True] * 7, seen
    assert not seen_by_another(stores, tenant_id)
    stores.close()


def test_store_marked_stale_during_prepare_is_prepared_again(shelf: Shelf, stores: TenantStores) -> None:
    tenant_id = shelf.tenant.tenant_id
    told: list[int] = []

    def prepare(_store: TenantStore) -> None:
        told.append(len(told))
        if len(told) == 1:
            stores.mark_stale(tenant_id)

    stores.mark_stale(tenant_id)
    for expected in ([0], [0, 1], [0, 1]):
        with stores.open(tenant_id, shelf.store_id, prepare):
            assert told == expected


def test_failed_prepare_is_retried_before_next_use(shelf: Shelf, stores: TenantStores) -> None:
    shelf.upsert(document("a"))
    tenant_id = shelf.tenant.tenant_id
    told: list[int] = []

    def prepare(_store: TenantStore) -> None:
        told.append(1)
        if len(told) == 1:
            raise Unavailable("the disk failed")

    stores.mark_stale(tenant_id)
    with (
        pytest.raises(Unavailable, match="the disk failed"),
        stores.open(tenant_id, shelf.store_id, prepare),
    ):
        pytest.fail("it was handed out")
    with stores.open(tenant_id, shelf.store_id, prepare):
        assert len(told) == 2
    with stores.open(tenant_id, shelf.store_id, prepare):
        assert len(told) == 2
    assert shelf.all_ids() == ["a"]
