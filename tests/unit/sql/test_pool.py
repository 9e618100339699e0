"""The connection pool: size limit, reuse, checks after idling, and closing after a broken connection."""

import threading
import time
from typing import Any, cast

import pytest
import sqlalchemy as sa

from akidb.domain.errors import Overloaded, Unavailable
from akidb.sql.pool import ConnectionPool


class Made:
    """Connections that a pool opened."""

    def __init__(self) -> None:
        self.opened: list[Any] = []
        self.works = True

    def connect(self) -> sa.Connection:
        engine = sa.create_engine("sqlite://", poolclass=sa.NullPool)
        self.opened.append(engine.connect())
        return cast("sa.Connection", self.opened[-1])

    def pool(self, *, size: int = 2, trusted_seconds: float = 60.0) -> ConnectionPool:
        return ConnectionPool(
            self.connect,
            lambda _: self.works,
            size=size,
            timeout_seconds=0.05,
            trusted_seconds=trusted_seconds,
        )


def test_most_recently_used_connection_is_reused_first() -> None:
    made = Made()
    pool = made.pool()
    first, second = pool.take(), pool.take()
    assert pool.counts() == (2, 0)
    pool.give(first)
    pool.give(second)
    assert pool.take() is second
    assert pool.counts() == (1, 1)
    assert len(made.opened) == 2


def test_take_from_exhausted_pool_waits_then_fails() -> None:
    made = Made()
    pool = made.pool(size=1)
    held = pool.take()
    with pytest.raises(Overloaded):
        pool.take()
    threading.Timer(0.01, pool.give, (held,)).start()
    assert pool.take() is held


def test_failed_connect_does_not_leak_slot() -> None:
    made = Made()
    pool = made.pool(size=1)
    connect, pool._connect = pool._connect, lambda: (_ for _ in ()).throw(Unavailable("down"))
    for _ in range(3):
        with pytest.raises(Unavailable, match="down"):
            pool.take()
    pool._connect = connect
    pool.give(pool.take())


def test_broken_connection_closes_idle_connections() -> None:
    made = Made()
    pool = made.pool()
    first, second = pool.take(), pool.take()
    pool.give(first)
    pool.give(second, broken=True)
    assert first.closed
    assert second.closed
    assert pool.counts() == (0, 0)


def test_long_idle_connection_is_pinged_and_replaced_if_dead() -> None:
    made = Made()
    pool = made.pool(trusted_seconds=0.0)
    old = pool.take()
    pool.give(old)
    assert pool.take() is old
    pool.give(old)
    made.works = False
    assert pool.take() is not old
    assert old.closed


def test_closed_pool_refuses_take_and_closes_returned_connections() -> None:
    made = Made()
    pool = made.pool()
    held, idle = pool.take(), pool.take()
    pool.give(idle)
    pool.close()
    assert idle.closed
    with pytest.raises(Unavailable, match="closed"):
        pool.take()
    pool.give(held)
    assert held.closed


def test_retaking_thread_queues_behind_waiting_thread() -> None:
    made = Made()
    pool = ConnectionPool(
        made.connect, lambda _: True, size=1, timeout_seconds=30, trusted_seconds=60.0, kind="tenant"
    )
    came: list[str] = []

    def come() -> None:
        connection = pool.take()
        came.append("who waited")
        pool.give(connection)

    held = pool.take()
    waiter = threading.Thread(target=come)
    waiter.start()
    while pool.waiting == 0:
        time.sleep(0.001)
    pool.give(held)
    held = pool.take()
    came.append("who came again")
    pool.give(held)
    waiter.join()
    assert came == ["who waited", "who came again"]
