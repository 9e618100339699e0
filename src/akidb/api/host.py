"""What a connection needs of the server that accepted it."""

import asyncio
from typing import Protocol, TypeVar

from akidb.api.exchange import Exchange
from akidb.api.limits import Limits

ConnectionT_contra = TypeVar("ConnectionT_contra", contravariant=True)


class Host(Protocol[ConnectionT_contra]):
    """What a connection needs of its server."""

    limits: Limits
    loop: asyncio.AbstractEventLoop

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """Headers of all responses."""

    @property
    def refusing(self) -> bool:
        """Whether the server is shutting down."""

    def now(self) -> float:
        """Return the time of the event loop, in seconds."""

    def add(self, connection: ConnectionT_contra) -> None:
        """Add an open connection."""

    def discard(self, connection: ConnectionT_contra) -> None:
        """Remove a closed connection."""

    def note_request(self, connection: ConnectionT_contra) -> None:
        """Note that a connection has sent the head of its first request."""

    def start(self, exchange: Exchange) -> None:
        """Serve a request in a task."""

    def start_soon(self, exchange: Exchange) -> None:
        """Serve a request whose body is incomplete; if there are many, a few at a time."""

    def count_request(self) -> None:
        """Count a complete response."""

    def count_cut(self, reason: str) -> None:
        """Count a client that was cut off."""
