"""The threads that operations run in, and how many requests may be under way at once."""

import asyncio
import contextvars
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from akidb.domain.errors import Overloaded, Unavailable

THREADS = 32
"""Enough that some can wait at a tenant's write gate while others read; the core takes microseconds."""

T = TypeVar("T")


class Workers:
    """Runs operations off the event loop. Only `run` leaves it; the rest is called on it."""

    def __init__(self, *, capacity: int, threads: int = THREADS) -> None:
        """Admit up to `capacity` requests; those beyond the number of threads wait for one."""
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="akidb-http")
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
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(self._pool, context.run, function)

    def refuse(self) -> None:
        """Admit nothing more. What was admitted goes on."""
        self._refusing = True

    def close(self) -> None:
        """Wait for what runs, and end the threads."""
        self._pool.shutdown()
