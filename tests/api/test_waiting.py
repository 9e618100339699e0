"""Operations above a tenant's rate wait for their turn: in process, and as a client of a server."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import akidb
import akidb.aio

from .conftest import problem
from .running import Process

VECTOR = [1.0] * 16
RATE = 20


def notes_of(db: akidb.Client, slug: str, qps_quota: int | None = RATE) -> akidb.CollectionHandle:
    tenant = db.tenants.create(slug.title(), slug=slug, qps_quota=qps_quota)
    notes = tenant.databases.create("kb").collections.create("notes", dimension=16)
    tenant.update(qps_quota=None)
    notes.upsert([{"id": "a", "vector": VECTOR}])
    tenant.update(qps_quota=qps_quota)
    return notes


def took(work: Callable[[], Any]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def loop(notes: akidb.CollectionHandle, times: int = 2 * RATE) -> None:
    for _ in range(times):
        notes.search(VECTOR)


def test_loop_above_the_rate_waits_in_process(tmp_path: Path) -> None:
    with akidb.connect(tmp_path / "data") as db:
        notes = notes_of(db, "aki")
        assert took(lambda: loop(notes)) >= 0.9  # a second's worth is a burst
        db.tenants.get("aki").update(qps_quota=None)
        loop(notes, 500)  # more than any default


def test_threads_and_coroutines_wait(tmp_path: Path) -> None:
    async def main() -> None:
        async with akidb.aio.connect(tmp_path / "data") as db:
            notes = await (await (await db.tenants.get("aki")).databases.get("kb")).collections.get("notes")
            await asyncio.gather(*(notes.search(VECTOR) for _ in range(2 * RATE)))

    with akidb.connect(tmp_path / "data") as db:
        notes_of(db, "aki")
        assert took(lambda: asyncio.run(main())) >= 0.9


def test_without_waiting_the_rate_is_an_error(tmp_path: Path) -> None:
    with akidb.connect(tmp_path / "data", wait_seconds=0) as db:
        notes = notes_of(db, "aki")
        with pytest.raises(akidb.RateLimited) as caught:
            loop(notes)
        assert 0 < caught.value.retry_after_seconds <= 1 / RATE
        db.tenants.get("aki").update(qps_quota=0)
    with akidb.connect(tmp_path / "data") as db, pytest.raises(akidb.RateLimited):
        db.tenants.get("aki").databases.get("kb").collections.get("notes").count()  # 0 never comes


def test_closing_does_not_wait_for_who_waits(tmp_path: Path) -> None:
    with akidb.connect(tmp_path / "data", wait_seconds=3600) as db:
        notes = notes_of(db, "aki", 1)
        notes.count()
        failed: list[BaseException] = []
        began = threading.Event()

        def wait() -> None:
            began.set()
            try:
                for _ in range(100):
                    notes.count()
            except akidb.AkiDBError as error:
                failed.append(error)

        waiter = threading.Thread(target=wait)
        waiter.start()
        assert began.wait(30)
    waiter.join(30)
    assert [type(error) for error in failed] == [akidb.Unavailable]


def test_interrupt_ends_the_wait(tmp_path: Path) -> None:
    with akidb.connect(tmp_path / "data", wait_seconds=3600) as db:
        notes = notes_of(db, "aki", 1)
        interrupt = threading.Timer(0.5, lambda: os.kill(os.getpid(), signal.SIGINT))
        interrupt.start()
        with pytest.raises(KeyboardInterrupt):
            loop(notes, 200)
        db.tenants.get("aki").update(qps_quota=None)
        assert notes.count() == 1


def test_client_of_a_server_waits_as_the_server_says(server: Process, http: httpx.Client) -> None:
    with akidb.connect(server.url) as db:
        notes = notes_of(db, "hurried")
        assert took(lambda: loop(notes)) >= 0.9
    path = "/v1/tenants/hurried/databases/kb/collections/notes/documents/count"
    answers = [http.post(path, json={}) for _ in range(2 * RATE)]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert refused, "the server waited itself"
    problem(refused[0], 429, "rate_limited", limit=RATE)
    assert int(refused[0].headers["retry-after"]) >= 1
    with akidb.connect(server.socket, wait_seconds=0) as db:
        notes = db.tenants.get("hurried").databases.get("kb").collections.get("notes")
        with pytest.raises(akidb.RateLimited):
            loop(notes)


def test_quota_of_null_is_unlimited_over_http(http: httpx.Client) -> None:
    fields = {"memory_quota_bytes": None, "storage_quota_bytes": None, "qps_quota": None}
    made = http.post("/v1/tenants", json={"name": "Unlimited", "slug": "unlimited", **fields})
    assert {name: made.json()[name] for name in fields} == fields
    usage = http.get("/v1/tenants/unlimited/usage").json()
    assert [usage[name]["limit"] for name in ("memory_bytes", "storage_bytes", "qps")] == [None] * 3
    changed = http.patch("/v1/tenants/unlimited", json={"qps_quota": 5})
    assert changed.json()["qps_quota"] == 5
    assert http.patch("/v1/tenants/unlimited", json={"qps_quota": None}).json()["qps_quota"] is None
