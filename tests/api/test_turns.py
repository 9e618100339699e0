"""Slots by kind of work, fair among tenants, which leave threads for other requests."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from akidb.api.fair_slots import FairSlots
from akidb.api.workers import EACH, SLOTS
from akidb.domain.errors import Overloaded, Unavailable
from akidb.operations import Request, Work
from akidb.operations.collections import CreateCollection
from akidb.operations.documents import (
    CountDocuments,
    DeleteDocuments,
    GetDocuments,
    ScanDocuments,
    SearchDocuments,
    UpsertDocuments,
)
from akidb.operations.embeddings import EmbedTexts, PullModel
from akidb.operations.tenants import GetUsage

from .running import carry_out, client, threaded

NOTES = "/v1/tenants/busy/databases/kb/collections/notes"


class Blocked:
    """A slow operation: it ends when `release` is set."""

    def __init__(self) -> None:
        self.release = threading.Event()
        self.entered = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._running = 0
        self.most = 0

    def __call__(self, *_: object, **__: object) -> Any:
        with self._lock:
            self._running += 1
            self.most = max(self.most, self._running)
        self.entered.release()
        assert self.release.wait(30)
        with self._lock:
            self._running -= 1
        raise Unavailable("it was only a test")


@pytest.mark.parametrize(
    ("work", "asked", "method", "path", "fields"),
    [
        (Work.SLOW, UpsertDocuments, "POST", f"{NOTES}/documents", {"json": {"documents": []}}),
        (Work.SLOW, SearchDocuments, "POST", f"{NOTES}/search", {"json": {"text": "x"}}),
        (Work.SLOW, EmbedTexts, "POST", "/v1/embeddings", {"json": {"input": ["x"]}}),
        (Work.SLOW, PullModel, "POST", "/v1/models/hash/pull", {}),
        (Work.SLOW, DeleteDocuments, "POST", f"{NOTES}/documents/delete", {"json": {"ids": ["a"]}}),
        (Work.SLOW, CreateCollection, "POST", NOTES.removesuffix("/notes"), {"json": {"name": "new"}}),
        (Work.QUICK, GetDocuments, "POST", f"{NOTES}/documents/get", {"json": {"ids": ["a"]}}),
        (Work.QUICK, CountDocuments, "POST", f"{NOTES}/documents/count", {"json": {}}),
        (Work.QUICK, ScanDocuments, "GET", f"{NOTES}/documents", {}),
        (Work.QUICK, GetUsage, "GET", "/v1/tenants/busy/usage", {}),
        (Work.HEAVY, CountDocuments, "POST", f"{NOTES}/documents/count", {"json": {"filter": {"a": 1}}}),
        (Work.HEAVY, ScanDocuments, "GET", f"{NOTES}/documents", {"params": {"filter": '{"a": 1}'}}),
        (Work.HEAVY, ScanDocuments, "GET", f"{NOTES}/documents", {"params": {"limit": 101}}),
        (Work.HEAVY, GetDocuments, "POST", f"{NOTES}/documents/get", {"json": {"ids": ["a"] * 101}}),
        (Work.HEAVY, DeleteDocuments, "POST", f"{NOTES}/documents/delete", {"json": {"filter": {"a": 1}}}),
        (Work.HEAVY, UpsertDocuments, "POST", f"{NOTES}/documents", {"json": {"documents": [{}] * 101}}),
        (Work.HEAVY, SearchDocuments, "POST", f"{NOTES}/search", {"json": {"text": "x", "filter": {"a": 1}}}),
        (Work.HEAVY, SearchDocuments, "POST", f"{NOTES}/search", {"json": {"text": "x", "top_k": 101}}),
        (Work.HEAVY, SearchDocuments, "POST", f"{NOTES}/search", {"json": {"text": "x" * 300_000}}),
    ],
)
def test_one_tenant_leaves_slots_for_the_others(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    work: Work,
    asked: type[Request[Any]],
    method: str,
    path: str,
    fields: dict[str, Any],
) -> None:
    blocked = Blocked()
    with threaded(tmp_path / "data") as running, client(running.url) as http:
        http.post("/v1/tenants", json={"name": "Calm"}).raise_for_status()
        carry_out(monkeypatch, running, {asked: blocked})
        monkeypatch.setattr(running.operations, "ready", lambda: None)  # it embeds a text itself
        requests = EACH[work] + 8
        with ThreadPoolExecutor(requests) as senders:
            try:
                sent = [senders.submit(http.request, method, path, **fields) for _ in range(requests)]
                for _ in range(EACH[work]):
                    assert blocked.entered.acquire(timeout=10)
                for _ in range(10):
                    assert http.get("/v1/tenants/calm", timeout=5).status_code == 200
                    assert http.get("/health/ready", timeout=5).status_code == 200
            finally:
                blocked.release.set()
            assert {answer.result().status_code for answer in sent} == {503}  # each had its turn
    assert blocked.most == EACH[work] < SLOTS[work]


def test_waiting_tenants_get_slots_round_robin() -> None:
    had: list[str] = []

    async def work(turns: FairSlots, whose: str) -> None:
        async with turns.place(whose):
            had.append(whose)
            await asyncio.sleep(0)

    async def main() -> None:
        turns = FairSlots(1)
        tasks = [asyncio.create_task(work(turns, whose)) for whose in "aaaabbc"]
        await asyncio.gather(*tasks)
        await asyncio.wait_for(work(turns, "d"), 5)

    asyncio.run(main())
    assert "".join(had) == "aabcabad"


@pytest.mark.parametrize("at_once", [False, True])
def test_cancelled_waiter_takes_no_slot(at_once: bool) -> None:
    async def hold(turns: FairSlots, let_go: asyncio.Event) -> None:
        async with turns.place("a"):
            await let_go.wait()

    async def main() -> None:
        turns, let_go = FairSlots(1), asyncio.Event()
        holder = asyncio.create_task(hold(turns, let_go))
        leaver = asyncio.create_task(hold(turns, let_go))
        await asyncio.sleep(0)
        if at_once:  # it is given the place, and leaves before it takes it
            let_go.set()
            await asyncio.sleep(0)
        leaver.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaver
        let_go.set()
        await holder
        await asyncio.wait_for(hold(turns, let_go), 5)

    asyncio.run(main())


async def _run(turns: FairSlots, whose: str, entered: list[str], release: asyncio.Event) -> None:
    async with turns.place(whose):
        entered.append(whose)
        await release.wait()


async def _settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_tenant_has_at_most_its_share_even_of_free_slots() -> None:
    async def main() -> None:
        turns, entered, release = FairSlots(3, each=2), list[str](), asyncio.Event()
        tasks = [asyncio.create_task(_run(turns, whose, entered, release)) for whose in "aaaab"]
        await _settled()
        assert entered == ["a", "a", "b"]
        tasks.append(asyncio.create_task(_run(turns, "c", entered, release)))
        await _settled()
        assert entered == ["a", "a", "b"]  # all slots are taken
        release.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 5)
        assert sorted(entered) == list("aaaabc")
        assert not turns._running
        assert not turns._waiting

    asyncio.run(main())


def test_tenant_with_many_waiting_is_refused_and_others_are_not() -> None:
    async def main() -> None:
        turns, entered, release = FairSlots(1, waiting_each=2), list[str](), asyncio.Event()
        tasks = [asyncio.create_task(_run(turns, whose, entered, release)) for whose in "aaaab"]
        await _settled()
        release.set()
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        assert [type(each) for each in results] == [type(None)] * 3 + [Overloaded, type(None)]
        assert sorted(entered) == list("aaab")

    asyncio.run(main())


def test_full_queue_refuses_the_tenant_with_the_longest_line() -> None:
    async def main() -> None:
        turns, entered, release = FairSlots(1, most_waiting=3), list[str](), asyncio.Event()
        tasks = [asyncio.create_task(_run(turns, whose, entered, release)) for whose in "aaaabab"]
        await _settled()
        release.set()
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 5)
        refused = [isinstance(each, Overloaded) for each in results]
        # The first of b takes the place of the last a that waits; its second would wait longer than any a.
        assert refused == [False, False, False, True, False, True, True]
        assert entered == ["a", "a", "b", "a"]
        assert turns._count == 0

    asyncio.run(main())


def test_tenant_with_two_names_has_the_slots_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with threaded(tmp_path / "data") as running, client(running.url) as http:
        made = http.post("/v1/tenants", json={"name": "Busy"}).raise_for_status().json()
        names = ["busy", made["tenant_id"]]
        for name in names:
            http.get(f"/v1/tenants/{name}").raise_for_status()
        blocked = Blocked()
        carry_out(monkeypatch, running, {GetUsage: blocked})
        most = EACH[Work.QUICK]
        with ThreadPoolExecutor(2 * most) as senders:
            try:
                sent = [
                    senders.submit(http.get, f"/v1/tenants/{name}/usage")
                    for name in names
                    for _ in range(most)
                ]
                for _ in range(most):
                    assert blocked.entered.acquire(timeout=10)
                http.get("/v1/tenant-count", timeout=5).raise_for_status()
            finally:
                blocked.release.set()
            assert {answer.result().status_code for answer in sent} == {503}
    assert blocked.most == most
