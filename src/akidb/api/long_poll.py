"""Long polling: requests wait for a change on the event loop, without a thread or an admission slot.

A change wakes its waiters; each read then uses a worker thread briefly. A wait ends on timeout, client
disconnect, or server shutdown.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Generic, NamedTuple, TypeVar

from litestar import Request

from akidb.api.bodies import ClientDisconnected
from akidb.api.limits import Limits
from akidb.api.paths import places_of
from akidb.api.workers import Workers
from akidb.domain.changes import ChangePage
from akidb.domain.errors import Overloaded
from akidb.operations import Work
from akidb.services.changes import TICK_SECONDS, Watch

MAX_WAITING = 10_000
"""Each holds about 20 kB, and a connection: at most half of the connections wait."""

BUSY_SECONDS = 0.2
"""How soon a waiting reader looks again after it found no slot."""

T = TypeVar("T")


class Wait(NamedTuple, Generic[T]):
    """A reader of changes, the longest time to wait for one, and the kind of work that a read is."""

    watch: Watch[T]
    seconds: float
    work: Work


class LongPolls:
    """The waiting requests of one event loop."""

    def __init__(self, workers: Workers, limits: Limits) -> None:
        self._workers = workers
        self._limits = limits
        self._count = 0

    async def answer(self, request: Request[Any, Any, Any], wait: Wait[T]) -> ChangePage[T]:
        """Return the first page with changes, or an empty page on timeout."""
        name = places_of(request.scope)["tenant"]
        page = await self._look(wait, name)
        if page.changes or wait.seconds == 0:
            return page
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait.seconds
        woken = asyncio.Event()

        def wake() -> None:  # in the writer's thread, which may outlive the loop
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(woken.set)

        gone = asyncio.create_task(_gone(request))
        try:
            with self._place(), wait.watch.listening(wake):
                while True:
                    woken.clear()
                    left = deadline - loop.time()
                    try:
                        page = await self._look(wait, name)
                    except Overloaded:  # one change wakes every reader of a feed: they take turns
                        if left > 0:
                            await asyncio.sleep(min(left, BUSY_SECONDS))
                            continue
                    if page.changes or left <= 0:
                        return page
                    if await self._sleep(woken, gone, min(left, wait.watch.unwoken_seconds)):
                        return page
        finally:
            gone.cancel()

    async def _look(self, wait: Wait[T], name: str) -> ChangePage[T]:
        with self._workers.admitted():
            return await self._workers.run(wait.watch.look, wait.work, name)

    async def _sleep(self, woken: asyncio.Event, gone: "asyncio.Task[None]", seconds: float) -> bool:
        """Wait until the next read is due. Return whether the server is shutting down."""
        until = asyncio.get_running_loop().time() + seconds
        while (left := until - asyncio.get_running_loop().time()) > 0:
            waker = asyncio.create_task(woken.wait())
            try:
                await asyncio.wait(
                    {waker, gone}, timeout=min(left, TICK_SECONDS), return_when="FIRST_COMPLETED"
                )
            finally:
                waker.cancel()
            if gone.done():
                raise ClientDisconnected
            if self._workers.refusing or woken.is_set():
                break
        return self._workers.refusing

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._count >= min(MAX_WAITING, self._limits.connections // 2):
            raise Overloaded("waiting")
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1


async def _gone(request: Request[Any, Any, Any]) -> None:
    """Return when the client disconnects. The request body is already read."""
    receive: Callable[[], Any] = request.receive
    while (await receive())["type"] != "http.disconnect":
        pass
