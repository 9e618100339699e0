"""Bytes that all clients hold together: bodies that are not processed yet, or responses not sent yet.

When they are used up, the slowest client is cut off in favour of the next one; a client that keeps up waits.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from akidb.api.exchange import Exchange
from akidb.api.limits import Limits
from akidb.domain.errors import Overloaded


class Share:
    """What one client holds."""

    __slots__ = ("_room", "amount", "exchange", "is_settled", "rate")

    def __init__(self, room: "Room", exchange: Exchange, rate: Callable[[], float]) -> None:
        self.amount = 0
        self.exchange = exchange
        self.rate = rate
        self.is_settled = False
        """Whether it waits for the server, not for its client, and so must not be cut off."""
        self._room = room

    async def grow(self, amount: int) -> None:
        """Hold more. Raises Overloaded if others hold the rest for too long."""
        await self._room.take(self, amount)


class _Waiting(NamedTuple):
    amount: int
    turn: "asyncio.Future[None]"


class Room:
    """A number of bytes. Used on one event loop only."""

    def __init__(self, capacity: int, name: str, limits: Limits) -> None:
        """`name` is that of the queue in the error."""
        self._capacity = capacity
        self._name = name
        self._limits = limits
        self._shares: set[Share] = set()
        self._waiting: dict[Share, _Waiting] = {}
        """In the order of their turns."""
        self.used = 0

    @contextmanager
    def share(self, exchange: Exchange, rate: Callable[[], float]) -> Iterator[Share]:
        """Begin with nothing; release everything on exit."""
        share = Share(self, exchange, rate)
        self._shares.add(share)
        try:
            yield share
        finally:
            self._shares.discard(share)
            self._release(share)

    async def take(self, share: Share, amount: int) -> None:
        """Add to a share, after those that wait already."""
        if self._waiting or not self._fits(share, amount):
            await self._wait(share, amount)
        else:
            self._give(share, amount)

    def take_at_once(self, share: Share, amount: int, *, must: bool) -> None:
        """Add to a share. Raises Overloaded if it does not fit, unless it `must`."""
        if not self._fits(share, amount) and not must:
            raise Overloaded(self._name)
        self._give(share, amount)

    def _give(self, share: Share, amount: int) -> None:
        share.amount += amount
        self.used += amount

    def _fits(self, share: Share, amount: int) -> bool:
        """Return whether it fits, after cutting off slow clients if need be."""
        while self.used + amount > self._capacity:
            slowest = self._slowest(share)
            if slowest is None:
                return False
            self._cut(slowest)
        return True

    def _slowest(self, asking: Share) -> Share | None:
        slow = [
            (rate, share)
            for share in self._shares
            if share is not asking
            and share.amount
            and not share.is_settled
            and (rate := share.rate()) < self._limits.crowded_rate
        ]
        return min(slow, key=lambda pair: pair[0])[1] if slow else None

    def _cut(self, share: Share) -> None:
        self._release(share)
        share.exchange.cut(Overloaded(self._name))
        if (waiting := self._waiting.get(share)) is not None and not waiting.turn.done():
            waiting.turn.set_exception(Overloaded(self._name))

    def _release(self, share: Share) -> None:
        self.used -= share.amount
        share.amount = 0
        self._serve_waiting()

    def _serve_waiting(self) -> None:
        for share, (amount, turn) in self._waiting.items():
            if turn.done():
                continue
            if self.used + amount > self._capacity:
                return
            self._give(share, amount)
            turn.set_result(None)

    async def _wait(self, share: Share, amount: int) -> None:
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._waiting[share] = _Waiting(amount, turn)
        deadline = loop.time() + self._limits.wait_seconds
        try:
            if self._is_stuck():
                raise Overloaded(self._name)
            while not turn.done():
                left = deadline - loop.time()
                if left <= 0:
                    raise Overloaded(self._name)
                await asyncio.wait({turn}, timeout=min(left, self._limits.tick_seconds))
                if not turn.done() and self._fits(share, amount):
                    self._serve_waiting()
            turn.result()
        finally:
            del self._waiting[share]
            turn.cancel()

    def _is_stuck(self) -> bool:
        """Return whether all that hold something wait for more, so that none of them would ever go on."""
        return all(share in self._waiting for share in self._shares if share.amount)
