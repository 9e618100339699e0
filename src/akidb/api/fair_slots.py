"""A semaphore for slow work, round-robin by tenant, so that no tenant starves another."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class FairSlots:
    """A semaphore with `places` slots. Free slots go to the waiting tenants in round-robin order.

    Use it on one event loop. A waiting request does not hold a thread.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """Waiters by tenant, in the order of their turns. Empty while a slot is free."""

    @asynccontextmanager
    async def place(self, whose: str) -> AsyncIterator[None]:
        """Acquire a slot for tenant `whose`; release it on exit."""
        if self._free:
            self._free -= 1
        else:
            await self._turn(whose)
        try:
            yield
        finally:
            self._give()

    async def _turn(self, whose: str) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(whose, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():  # the slot was assigned at the same moment
                self._give()
            raise

    def _give(self) -> None:
        """Release a slot to the next waiter that is not cancelled."""
        while self._waiting:
            whose = next(iter(self._waiting))
            line = self._waiting.pop(whose)
            turn = line.popleft()
            if line:
                self._waiting[whose] = line  # to the end of the rotation
            if not turn.cancelled():
                turn.set_result(None)
                return
        self._free += 1
