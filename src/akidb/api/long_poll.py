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
from akidb.api.workers import Workers
from akidb.domain.changes import ChangePage
from akidb.domain.errors import Overloaded
from akidb.services.changes import TICK_SECONDS, Watch

MAX_WAITING = 10_000
"""Each holds a connection and about 20 kB."""

T = TypeVar("T")


class Wait(NamedTuple, Generic[T]):
    """A reader of changes, and the longest time to wait for one."""

    watch: Watch[T]
    seconds: float


class LongPolls:
    """The waiting requests of one event loop."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        self._count = 0

    async def answer(self, request: Request[Any, Any, Any], wait: Wait[T]) -> ChangePage[T]:
        """Return the first page with changes, or an empty page on timeout."""
        page = await self._look(wait.watch)
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
                    page = await self._look(wait.watch)
                    left = deadline - loop.time()
                    if page.changes or left <= 0:
                        return page
                    if await self._sleep(woken, gone, min(left, wait.watch.unwoken_seconds)):
                        return page
        finally:
            gone.cancel()

    async def _look(self, watch: Watch[T]) -> ChangePage[T]:
        with self._workers.admitted():
            return await self._workers.run(watch.look)

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
        if self._count >= MAX_WAITING:
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
