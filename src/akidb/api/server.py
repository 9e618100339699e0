"""The server process: opens the data directory, listens, and shuts down gracefully.

On SIGTERM or SIGINT it stops accepting connections, refuses new requests, finishes those in progress, and
closes the stores. On a second signal it does not wait for clients.
"""

import gc
import socket
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import FrameType
from typing import NamedTuple

import uvicorn
from msgspec.structs import replace

from akidb.api.app import Application, create_app
from akidb.api.clients import SPARE, Clients
from akidb.api.connection import Connection
from akidb.api.descriptors import raise_limit, share_descriptors
from akidb.api.limits import LIMITS, Limits
from akidb.api.logs import logging_to_stderr
from akidb.api.memory import return_large_blocks
from akidb.api.sockets import UnixSocket, bind_tcp, url_of
from akidb.deployment.local import LocalOperations, open_local
from akidb.deployment.owner import patiently
from akidb.deployment.places import Location
from akidb.observe.logs import logger
from akidb.settings import Settings

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8080
GRACE_SECONDS = 60
"""How long a client may take to finish sending its request after a signal."""

SWITCH_SECONDS = 0.0005
"""How long a thread that computes keeps the interpreter while others wait for it. Python's own 5 ms are spent
anew at each of the ten or so points where a request gives the interpreter away."""

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
        raise_limit()
        return_large_blocks()
        sys.setswitchinterval(SWITCH_SECONDS)
        stores, connections = share_descriptors(
            settings.max_open_stores, LIMITS.connections, kept=LIMITS.local_connections + 2 * SPARE
        )
        settings = replace(settings, max_open_stores=stores, wait_seconds=0)  # its clients wait
        limits = replace(LIMITS, connections=connections)
        with logging_to_stderr(settings.log_level, settings.log_format), _exported(settings):
            operations = patiently(lambda: open_local(target, settings), settings.open_wait_seconds)
            try:
                _serve(operations, settings, limits, tcp, on_listening)
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
    limits: Limits,
    tcp: socket.socket,
    on_listening: Callable[[Listening], None] | None,
) -> None:
    app = create_app(operations, settings, limits)
    # Local commands connect to a PostgreSQL database directly, so it needs no socket.
    unix = None if operations.directory is None else UnixSocket(operations.directory)

    def started() -> None:
        gc.freeze()  # a full collection of what a server begins with takes 100 ms, in which no thread runs
        if unix is not None:
            operations.publish_socket(unix.path)
        listening = Listening(url_of(tcp), None if unix is None else unix.path)
        if settings.log_format == "json":  # for those who read it, the log begins here
            path = None if unix is None else str(unix.path)
            _logger.info("serving", extra={"fields": {"url": listening.url, "socket": path}})
        if on_listening is not None:
            on_listening(listening)

    try:
        server = Server(app, started, unix=unix, keep=operations.keep_published)
        server.run(sockets=[tcp] if unix is None else [tcp, unix.bound])
        operations.begin_shutdown()
    finally:
        if unix is not None:
            unix.close()
        app.close()


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
            http=Connection,
            loop="uvloop",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # any client could write any address into the audit
            workers=1,  # else uvicorn reads WEB_CONCURRENCY
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        super().__init__(config)
        self._app = app
        self._on_started = started
        self._unix = unix
        self._keep = keep

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then call `started`."""
        self._clients = Clients(self._app, self.server_state, self._app.limits, self._app.metrics)
        self.servers = [self._clients.listen(each) for each in sockets or ()]  # type: ignore[misc]
        self.started = True
        self._on_started()

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second: look after the Unix socket."""
        if self._unix is not None and counter % TICKS_PER_LOOK == 0:
            try:
                self._keep_socket(self._unix)
                self._keep()
            except OSError as error:
                _logger.warning("the Unix socket cannot be looked after: %s", error.strerror)
        return await super().on_tick(counter)

    def _keep_socket(self, unix: UnixSocket) -> None:
        mode = unix.close_to_others()
        if mode is not None:
            _logger.warning("the Unix socket had mode %04o; it is closed to other users again", mode)
        fresh = unix.rebind()
        if fresh is None:
            return
        self.servers.pop().close()  # the Unix socket is the last one; its connections are kept
        self.servers.append(self._clients.listen(fresh))  # type: ignore[arg-type]
        _logger.warning("the Unix socket was removed; it is bound again")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish the requests in progress. The limits apply meanwhile."""
        await super().shutdown(sockets)
        self._clients.close()

    def stop(self) -> None:
        """Shut down as on a signal. Thread-safe."""
        self._app.drain()
        self.should_exit = True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Shut down gracefully; on the second signal, without waiting for clients."""
        del sig, frame  # not recorded: uvicorn would raise the signal again at exit
        self.force_exit = self.should_exit
        self.stop()
