"""The worker threads for operations, and the limit on concurrent requests."""

import asyncio
import contextvars
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from akidb.api.fair_slots import FairSlots
from akidb.domain.errors import Overloaded, Unavailable

THREADS = 32
"""Enough for some to wait at a tenant's write gate while others read; the core takes microseconds."""

T = TypeVar("T")


class Workers:
    """Runs operations off the event loop. Admission and queues are handled on the event loop."""

    def __init__(self, *, capacity: int, threads: int = THREADS) -> None:
        """Admit up to `capacity` requests; those beyond the number of threads are queued."""
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="akidb-http")
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="akidb-http-aside")
        self._slow = FairSlots(max(1, threads // 2))
        self._capacity = capacity
        self._admitted = 0
        self._refusing = False

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Hold an admission slot, from before the body is read until the response is ready.

        Raises Overloaded if all slots are taken, Unavailable during shutdown.
        """
        if self._refusing:
            raise Unavailable("the server is shutting down")
        if self._admitted >= self._capacity:
            raise Overloaded("request")
        self._admitted += 1
        try:
            yield
        finally:
            self._admitted -= 1

    async def run(self, function: Callable[[], T]) -> T:
        """Call `function` in a worker thread, in the caller's context."""
        return await self._run_in(self._pool, function)

    async def run_aside(self, function: Callable[[], T]) -> T:
        """Call `function` in the one thread that is reserved for requests that must not queue."""
        return await self._run_in(self._aside, function)

    async def _run_in(self, pool: ThreadPoolExecutor, function: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        context = contextvars.copy_context()

        def work() -> None:
            try:
                value = context.run(function)
            except BaseException as error:  # noqa: BLE001 - re-raised where the result is awaited
                loop.call_soon_threadsafe(_fail, answer, error)
            else:
                loop.call_soon_threadsafe(_give, answer, value)

        # Not `run_in_executor`, which chains two futures per call.
        pool.submit(work)
        return await answer

    async def run_slow(self, function: Callable[[], T], whose: str) -> T:
        """Call `function`, which may take seconds, in one of at most half of the threads.

        Further calls wait for a thread, round-robin by tenant (`whose`).
        """
        async with self._slow.place(whose):
            return await self.run(function)

    @property
    def refusing(self) -> bool:
        """Whether the server is shutting down."""
        return self._refusing

    def refuse(self) -> None:
        """Refuse new requests. Admitted requests continue."""
        self._refusing = True

    def close(self) -> None:
        """Wait for running work and stop the threads."""
        self._pool.shutdown()
        self._aside.shutdown()


def _give(answer: "asyncio.Future[T]", value: T) -> None:
    if not answer.cancelled():
        answer.set_result(value)


def _fail(answer: "asyncio.Future[Any]", error: BaseException) -> None:
    if not answer.cancelled():
        answer.set_exception(error)
