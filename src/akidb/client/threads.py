"""Threads in which `akidb.aio` runs the calls of a client, so that they do not block the event loop."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from itertools import islice
from typing import ParamSpec, TypeVar

from akidb.domain.errors import Unavailable
from akidb.domain.names import check_integer

P = ParamSpec("P")
T = TypeVar("T")

_ITEMS_PER_HOP = 100


class Threads:
    """A bounded thread pool of one client; further calls are queued."""

    def __init__(self, maximum: int) -> None:
        maximum = check_integer(maximum, "threads", 1)
        self._executor = ThreadPoolExecutor(maximum, thread_name_prefix="akidb")
        self._closed = False

    async def __call__(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function` in a thread, with the context variables of the caller.

        A cancelled caller stops waiting, but a call that has started runs to completion.
        """
        if self._closed:
            raise Unavailable("the connection was closed")
        call = partial(copy_context().run, function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._executor, call)

    async def iterate(self, items: Iterable[T]) -> AsyncIterator[T]:
        """Yield the items, fetched in a thread a hundred at a time."""
        iterator = iter(items)
        while some := await self(lambda: list(islice(iterator, _ITEMS_PER_HOP))):
            for item in some:
                yield item

    async def close(self, last: Callable[[], None]) -> None:
        """Wait for pending calls, then call `last`. Later calls raise Unavailable."""
        self._closed = True
        await asyncio.to_thread(self._finish, last)

    def _finish(self, last: Callable[[], None]) -> None:
        self._executor.shutdown(wait=True)
        last()
