"""The server process: opens the data directory, listens, and shuts down gracefully.

On SIGTERM or SIGINT it stops accepting connections, refuses new requests, finishes those in progress, and
closes the stores. On a second signal it does not wait for clients.
"""

import asyncio
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
from akidb.observe.logs import logger
from akidb.settings import Settings

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8080
GRACE_SECONDS = 60
"""How long a client may take to finish sending its request after a signal."""
KEEP_ALIVE_SECONDS = 75
MAX_HEAD_BYTES = 64 * 1024
"""The limit for request line and headers. It includes the filter of a scan."""

TICKS_PER_LOOK = 10
"""uvicorn ticks ten times a second."""

_logger = logger("akidb.api")


class Listening(NamedTuple):
    """The addresses of a server."""

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
    """Serve a data directory or a PostgreSQL database until a signal arrives.

    Raises InvalidArgument if the host is not loopback, Unavailable if the port is in use, and
    DirectoryHeld if another process owns the directory.
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
    # Local commands connect to a PostgreSQL database directly, so it needs no socket.
    unix = None if operations.directory is None else UnixSocket(operations.directory)

    def started() -> None:
        if unix is not None:
            operations.publish_socket(unix.path)
        if on_listening is not None:
            on_listening(Listening(url_of(tcp), None if unix is None else unix.path))

    try:
        server = Server(app, started, unix=unix, keep=operations.keep_published)
        server.run(sockets=[tcp] if unix is None else [tcp, unix.bound])
        operations.begin_shutdown()
    finally:
        if unix is not None:
            unix.close()
        app.close()


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 protocol on httptools, with a limit on the size of the request head.

    The C parser saves 0.1 ms per request, but buffers a head of any size.
    """

    _head_bytes: int | None = None

    def on_message_begin(self) -> None:
        """Start counting the head."""
        super().on_message_begin()
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        """Stop counting the head."""
        self._head_bytes = None
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """Parse the data, and count it while the head is incomplete."""
        super().data_received(data)
        if self._head_bytes is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._head_bytes = None
                self.send_400_response(f"The request head must be at most {MAX_HEAD_BYTES} bytes.")


class Server(uvicorn.Server):
    """uvicorn, but it refuses requests from the signal on and then exits with status 0."""

    def __init__(
        self,
        app: Application,
        started: Callable[[], None],
        *,
        unix: UnixSocket | None = None,
        keep: Callable[[], None] = lambda: None,
    ) -> None:
        """Serve `app`. A removed Unix socket is bound again within a second; `keep` runs as often."""
        config = uvicorn.Config(
            app,
            http=Protocol,
            loop="uvloop",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # any client could write any address into the audit
            workers=1,  # else uvicorn reads WEB_CONCURRENCY
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        super().__init__(config)
        self._app = app
        self._on_started = started
        self._unix = unix
        self._keep = keep

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then call `started`."""
        await super().startup(sockets)
        self._on_started()

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second: look after the Unix socket."""
        if self._unix is not None and counter % TICKS_PER_LOOK == 0:
            try:
                await self._keep_socket(self._unix)
                self._keep()
            except OSError as error:
                _logger.warning("the Unix socket cannot be bound again: %s", error.strerror)
        return await super().on_tick(counter)

    async def _keep_socket(self, unix: UnixSocket) -> None:
        fresh = unix.rebind()
        if fresh is None:
            return

        def protocol() -> asyncio.Protocol:
            return Protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

        listening = await asyncio.get_running_loop().create_server(
            protocol, sock=fresh, backlog=self.config.backlog
        )
        self.servers.pop().close()  # the Unix socket is the last one; its connections are kept
        self.servers.append(listening)
        _logger.warning("the Unix socket was removed; it is bound again")

    def stop(self) -> None:
        """Shut down as on a signal. Thread-safe."""
        self._app.drain()
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Shut down gracefully; on the second signal, without waiting for clients."""
        del sig, frame  # not recorded: uvicorn would raise the signal again at exit
        self.force_exit = self.should_exit
        self.stop()
