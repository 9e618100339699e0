"""The threads that operations run in, and how many requests may be under way at once."""

import asyncio
import contextvars
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from akidb.api.fair_slots import FairSlots
from akidb.domain.errors import Overloaded, Unavailable

THREADS = 32
"""Enough that some can wait at a tenant's write gate while others read; the core takes microseconds."""

T = TypeVar("T")


class Workers:
    """Runs operations off the event loop. Only `run` leaves it; the rest is called on it."""

    def __init__(self, *, capacity: int, threads: int = THREADS) -> None:
        """Admit up to `capacity` requests; those beyond the number of threads wait for one."""
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="akidb-http")
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="akidb-http-aside")
        self._slow = FairSlots(max(1, threads // 2))
        self._capacity = capacity
        self._admitted = 0
        self._refusing = False

    @contextmanager
    def admitted(self) -> Iterator[None]:
        """Hold a place from before the body is read until the answer is made.

        Raises Overloaded when all are taken, Unavailable once the server shuts down.
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
        """Do the same in the one thread that is kept for those who must not wait for the others."""
        return await self._run_in(self._aside, function)

    async def _run_in(self, pool: ThreadPoolExecutor, function: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[T] = loop.create_future()
        context = contextvars.copy_context()

        def work() -> None:
            try:
                value = context.run(function)
            except BaseException as error:  # noqa: BLE001 - it is raised where the answer is awaited
                loop.call_soon_threadsafe(_fail, answer, error)
            else:
                loop.call_soon_threadsafe(_give, answer, value)

        # Not `run_in_executor`, whose two futures for each call pass the answer on one by one.
        pool.submit(work)
        return await answer

    async def run_slow(self, function: Callable[[], T], whose: str) -> T:
        """Do the same for work of seconds, of which at most half of the threads are for.

        Those who want more of it wait for their turn, one tenant (`whose`) after the other.
        """
        async with self._slow.place(whose):
            return await self.run(function)

    @property
    def refusing(self) -> bool:
        """Whether the server shuts down."""
        return self._refusing

    def refuse(self) -> None:
        """Admit nothing more. What was admitted goes on."""
        self._refusing = True

    def close(self) -> None:
        """Wait for what runs, and end the threads."""
        self._pool.shutdown()
        self._aside.shutdown()


def _give(answer: "asyncio.Future[T]", value: T) -> None:
    if not answer.cancelled():
        answer.set_result(value)


def _fail(answer: "asyncio.Future[Any]", error: BaseException) -> None:
    if not answer.cancelled():
        answer.set_exception(error)
