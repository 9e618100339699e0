"""The server process: opens the data directory, listens, and leaves in order.

On SIGTERM or SIGINT it takes no more connections, refuses new requests, finishes those under way, and
closes the stores; a second signal does not wait for clients.
"""

import socket
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from akidb.api.app import Application, create_app
from akidb.api.logs import logging_to_stderr
from akidb.api.sockets import UnixSocket, bind_tcp, url_of
from akidb.deployment.local import LocalOperations, open_local
from akidb.deployment.places import Location
from akidb.settings import Settings

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8080
GRACE_SECONDS = 60
"""How long a client may take to send the rest of its request after a signal."""
KEEP_ALIVE_SECONDS = 75
MAX_HEAD_BYTES = 64 * 1024
"""Of a request line and its headers. A scan's filter is part of it."""


class Listening(NamedTuple):
    """Where a server is reached."""

    url: str
    socket: Path | None


def serve(
    target: Location,
    settings: Settings,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    *,
    on_listening: Callable[[Listening], None] | None = None,
) -> None:
    """Serve a data directory or a PostgreSQL database until a signal comes.

    Raises InvalidArgument for a host that is not loopback, Unavailable for a port that is taken, and
    DirectoryHeld when another process has the directory.
    """
    tcp = bind_tcp(host, port)
    try:
        operations = open_local(target, settings)
        try:
            with logging_to_stderr(settings.log_level, settings.log_format), _exported(settings):
                _serve(operations, settings, tcp, on_listening)
        finally:
            operations.close()
    finally:
        tcp.close()


def _exported(settings: Settings) -> AbstractContextManager[None]:
    if settings.tracing == "off":
        return nullcontext()
    from akidb.api.tracing import exported

    return exported()


def _serve(
    operations: LocalOperations,
    settings: Settings,
    tcp: socket.socket,
    on_listening: Callable[[Listening], None] | None,
) -> None:
    app = create_app(operations, settings)
    # Whoever wants to share a PostgreSQL database connects to that.
    unix = None if operations.directory is None else UnixSocket(operations.directory)

    def started() -> None:
        if unix is not None:
            operations.publish_socket(unix.path)
        if on_listening is not None:
            on_listening(Listening(url_of(tcp), None if unix is None else unix.path))

    try:
        Server(app, started).run(sockets=[tcp] if unix is None else [tcp, unix.bound])
        operations.begin_shutdown()
    finally:
        if unix is not None:
            unix.close()
        app.close()


class Protocol(HttpToolsProtocol):
    """HTTP/1.1 as uvicorn speaks it with httptools, but with an end to how long a head may be.

    The parser in C saves 0.1 ms of each request, but keeps all of a head, however long.
    """

    _head_bytes: int | None = None

    def on_message_begin(self) -> None:
        """Begin a head."""
        super().on_message_begin()
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """End it."""
        self._head_bytes = None
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Parse, and count what belongs to a head that has not ended."""
        super().data_received(data)
        if self._head_bytes is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._head_bytes = None
                self.send_400_response(f"A head may be at most {MAX_HEAD_BYTES} bytes.")


class Server(uvicorn.Server):
    """uvicorn, which here starts to refuse at the signal itself and then exits with status 0."""

    def __init__(self, app: Application, started: Callable[[], None]) -> None:
        config = uvicorn.Config(
            app,
            http=Protocol,
            loop="uvloop",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        super().__init__(config)
        self._app = app
        self._on_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        self._on_started()

    def stop(self) -> None:
        """Do what a signal does. May be called from any thread."""
        self._app.drain()
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Leave in order; at the second signal, without waiting for clients."""
        del sig, frame  # not kept: uvicorn would raise the signal again in the end
        self.force_exit = self.should_exit
        self.stop()
