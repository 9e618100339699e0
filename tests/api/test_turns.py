"""Per-tenant round-robin slots for slow work, which leave threads for other requests."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from akidb.api.fair_slots import FairSlots
from akidb.api.workers import THREADS
from akidb.domain.errors import Unavailable
from akidb.operations import Request
from akidb.operations.documents import SearchDocuments, UpsertDocuments
from akidb.operations.embeddings import EmbedTexts, PullModel

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
    ("asked", "path", "body"),
    [
        (UpsertDocuments, f"{NOTES}/documents", {"documents": []}),
        (SearchDocuments, f"{NOTES}/search", {"text": "x"}),
        (EmbedTexts, "/v1/embeddings", {"input": ["x"]}),
        (PullModel, "/v1/models/hash/pull", None),
    ],
)
def test_slow_work_leaves_threads_for_other_requests(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    asked: type[Request[Any]],
    path: str,
    body: object,
) -> None:
    blocked = Blocked()
    with threaded(tmp_path / "data") as running, client(running.url) as http:
        http.post("/v1/tenants", json={"name": "Calm"}).raise_for_status()
        carry_out(monkeypatch, running, {asked: blocked})
        monkeypatch.setattr(running.operations, "ready", lambda: None)  # it embeds a text itself
        with ThreadPoolExecutor(THREADS + 8) as senders:
            try:
                sent = [senders.submit(http.post, path, json=body) for _ in range(THREADS + 8)]
                for _ in range(THREADS // 2):
                    assert blocked.entered.acquire(timeout=10)
                for _ in range(10):
                    assert http.get("/v1/tenants/calm", timeout=5).status_code == 200
                    assert http.get("/health/ready", timeout=5).status_code == 200
            finally:
                blocked.release.set()
            assert {answer.result().status_code for answer in sent} == {503}  # each had its turn
    assert blocked.most == THREADS // 2


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
