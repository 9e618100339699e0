"""A semaphore that is fair among tenants: no tenant starves another, or takes all slots."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from akidb.domain.errors import Overloaded


class FairSlots:
    """A semaphore with `places` slots, of which a tenant has at most `each`.

    Free slots go to the waiting tenants in round-robin order. Use it on one event loop. A waiting request
    does not hold a thread.
    """

    def __init__(
        self,
        places: int,
        *,
        each: int | None = None,
        most_waiting: int | None = None,
        waiting_each: int | None = None,
        queue: str = "request",
    ) -> None:
        """Let up to `most_waiting` requests wait, of one tenant up to `waiting_each`; None: any number."""
        self._free = places
        self._each = each or places
        self._most_waiting = most_waiting
        self._waiting_each = waiting_each
        self._queue = queue
        self._running: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """Waiters by tenant, in the order of their turns."""
        self._count = 0

    @asynccontextmanager
    async def place(self, whose: str) -> AsyncIterator[None]:
        """Acquire a slot for tenant `whose`; release it on exit. Raises Overloaded if too many wait."""
        if self._free and self._running[whose] < self._each:
            self._take(whose)
        else:
            await self._turn(whose)
        try:
            yield
        finally:
            self._give(whose)

    async def _turn(self, whose: str) -> None:
        line = self._waiting.get(whose)
        if line is not None and self._waiting_each is not None and len(line) >= self._waiting_each:
            raise Overloaded(self._queue)
        if self._most_waiting is not None and self._count >= self._most_waiting:
            self._displace_for(whose)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(whose, deque()).append(turn)
        self._count += 1
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._leave(whose, turn)
            elif turn.exception() is None:  # the slot was assigned at the same moment
                self._give(whose)
            raise

    def _displace_for(self, whose: str) -> None:
        """Refuse the last waiter of the tenant with the longest line, unless that is `whose`."""
        longest = max(self._waiting, key=lambda each: len(self._waiting[each]))
        if len(self._waiting[longest]) <= len(self._waiting.get(whose, ())) + 1:
            raise Overloaded(self._queue)
        last = self._waiting[longest][-1]
        self._leave(longest, last)
        last.set_exception(Overloaded(self._queue))

    def _leave(self, whose: str, turn: asyncio.Future[None]) -> None:
        line = self._waiting[whose]
        line.remove(turn)
        self._count -= 1
        if not line:
            del self._waiting[whose]

    def _take(self, whose: str) -> None:
        self._free -= 1
        self._running[whose] += 1

    def _give(self, whose: str) -> None:
        """Release a slot, and assign free slots to waiters whose tenant may have one more."""
        self._free += 1
        self._running[whose] -= 1
        if not self._running[whose]:
            del self._running[whose]
        while self._free:
            following = next((each for each in self._waiting if self._running[each] < self._each), None)
            if following is None:
                return
            line = self._waiting.pop(following)
            turn = line.popleft()
            self._count -= 1
            if line:
                self._waiting[following] = line  # to the end of the rotation
            self._take(following)
            turn.set_result(None)
