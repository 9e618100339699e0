"""Places for imports, exports and backups: few, and few for each tenant.

When none is free, a stream whose client is slow is cut off in favour of the next one.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from akidb.api.exchange import Exchange
from akidb.api.limits import Limits
from akidb.domain.errors import Overloaded

NAME = "stream"


class _Place(NamedTuple):
    whose: str
    exchange: Exchange
    rate: Callable[[], float]


class StreamPlaces:
    """The places of one event loop. Those over the Unix socket are separate, so that an operator gets in."""

    def __init__(self, limits: Limits, *, places: int) -> None:
        self._limits = limits
        self._most = places
        self._taken: set[_Place] = set()
        self._left = asyncio.Condition()

    @asynccontextmanager
    async def place(
        self, whose: str, most_each: int, exchange: Exchange, rate: Callable[[], float]
    ) -> AsyncIterator[None]:
        """Hold one of the places, and one of the `most_each` places of `whose`.

        `rate` returns the bytes per second that the client moves. Raises Overloaded if no place becomes free.
        """
        place = _Place(whose, exchange, rate)
        deadline = asyncio.get_running_loop().time() + self._limits.wait_seconds
        while not self._is_free(whose, most_each):
            self._cut_slowest(None if len(self._taken) >= self._most else whose)
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0 or exchange.disconnected:
                raise Overloaded(NAME)
            async with self._left:
                try:
                    async with asyncio.timeout(min(left, self._limits.tick_seconds)):
                        await self._left.wait()
                except TimeoutError:
                    pass
        self._taken.add(place)
        try:
            yield
        finally:
            self._taken.discard(place)
            async with self._left:
                self._left.notify_all()

    def _is_free(self, whose: str, most_each: int) -> bool:
        each = Counter(place.whose for place in self._taken)
        return len(self._taken) < self._most and each[whose] < most_each

    def _cut_slowest(self, whose: str | None) -> None:
        """Cut off the slowest client, of `whose` if given, unless all keep up."""
        slow = [
            (rate, place)
            for place in self._taken
            if whose in {None, place.whose}
            and place.exchange.age_seconds > self._limits.crowded_stream_seconds
            and (rate := place.rate()) < self._limits.crowded_rate
        ]
        if slow:
            min(slow, key=lambda pair: pair[0])[1].exchange.cut(Overloaded(NAME))
