"""What one client may hold of a server, and what all clients may hold together (ADR 21)."""

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes, seconds and counts. Tests use smaller ones."""

    head_bytes: int = 64 * 1024
    """Request line and headers, and the trailers of a chunked body."""
    target_bytes: int = 60 * 1024
    """Path and query."""
    headers: int = 256
    """Header fields of a request, trailers included."""
    head_seconds: float = 20.0
    """From the first byte of a head, or from the connection, to the end of the head."""
    idle_seconds: float = 75.0
    """Between two requests of a connection."""
    body_bytes: int = 64 * 2**20
    """A JSON body."""
    whole_body_bytes: int = 16 * 1024
    """A request with a declared body of up to this size begins when its body is complete."""
    body_seconds: float = 300.0
    """From the end of the head to the end of a JSON body."""
    answer_seconds: float = 300.0
    """From the first byte of a JSON response to its last."""
    stream_seconds: float = 12 * 3600.0
    """The same for the body or the response of an import, an export or a backup."""
    window_seconds: float = 15.0
    """The least rate is demanded of every window of this length spent waiting for the client."""
    least_rate: int = 8 * 1024
    """Bytes per second of a body, a response or a stream."""
    crowded_rate: int = 2**20
    """Bytes per second below which a client is cut off if what it holds is all that is left."""
    crowded_seconds: float = 1.0
    """How long a client may hold something before `crowded_rate` is demanded of it."""
    crowded_stream_seconds: float = 10.0
    """The same for an archive, whose beginning is costly to make again and again."""
    linger_seconds: float = 10.0
    """How long the rest of a refused request is read and discarded before the connection is closed."""
    head_linger_bytes: int = 2**20
    """How much is discarded at most after a refused head; after other requests as much as a body may have."""
    all_bodies_bytes: int = 256 * 2**20
    """All JSON bodies, from their first byte to the end of their operation."""
    all_answers_bytes: int = 256 * 2**20
    """All JSON responses that are not yet handed to the operating system."""
    free_bytes: int = 64 * 1024
    """A body or response of up to this size is not counted; the number of connections limits them."""
    streams: int = 8
    """Imports, exports and backups in progress; each has a thread."""
    local_streams: int = 4
    """The same over the Unix socket, in addition."""
    streams_each: int = 2
    """Exports of one tenant in progress; backups in progress."""
    uploads: int = 4
    """Imports in progress."""
    wait_seconds: float = 30.0
    """How long a request waits for bytes or a stream that others hold before it is refused as overloaded."""
    connections: int = 16_384
    """Connections over TCP, unless the limit on open files permits fewer."""
    local_connections: int = 16
    """Connections over the Unix socket, in addition."""

    @property
    def silent_seconds(self) -> float:
        """How long a new connection is waited for before it may be closed in favour of the next one."""
        return self.crowded_seconds / 100

    @property
    def tick_seconds(self) -> float:
        """How often the connections are checked."""
        shortest = min(
            self.head_seconds,
            self.idle_seconds,
            self.body_seconds,
            self.answer_seconds,
            self.window_seconds,
            self.crowded_seconds,
            self.linger_seconds,
        )
        return min(1.0, shortest / 4)


LIMITS = Limits()
"""The limits of a server."""
