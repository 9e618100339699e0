"""Places for slow work, given in turn to those who want one, so that nobody is starved by another."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class FairSlots:
    """So many places. While all are taken, the tenants that wait get the next ones in rotation.

    To be used on one event loop. Who waits holds no thread.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}
        """Who waits, by tenant, in the order of their turns. Empty while a place is free."""

    @asynccontextmanager
    async def place(self, whose: str) -> AsyncIterator[None]:
        """Wait for a place and hold it."""
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
            if not turn.cancelled():  # it came at the same moment
                self._give()
            raise

    def _give(self) -> None:
        """Give a place to the next one, who did not leave meanwhile."""
        while self._waiting:
            whose = next(iter(self._waiting))
            line = self._waiting.pop(whose)
            turn = line.popleft()
            if line:
                self._waiting[whose] = line  # behind the others
            if not turn.cancelled():
                turn.set_result(None)
                return
        self._free += 1
