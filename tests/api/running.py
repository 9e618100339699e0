"""Test servers: a separate process, or a thread of this process where a test needs access to internals."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from akidb.api.app import Application, create_app
from akidb.api.limits import LIMITS, Limits
from akidb.api.server import Server
from akidb.api.sockets import UnixSocket, bind_tcp, url_of
from akidb.deployment.local import LocalOperations, open_local
from akidb.operations import Request
from akidb.settings import Settings
from surroundings import QUICK_HASHES

_SERVE = f"""
{QUICK_HASHES}
import sys
from pathlib import Path
from akidb.api.server import serve
from akidb.settings import load
serve(Path(sys.argv[1]), load(), port=0, on_listening=lambda at: print(at.url, at.socket, flush=True))
"""


_LIMITED = 'test -z "$OPEN_FILES" || ulimit -n "$OPEN_FILES"; exec "$@"'


class Process(NamedTuple):
    """A server in a separate process."""

    process: subprocess.Popen[str]
    url: str
    socket: Path
    log: Path

    def stop(self) -> int:
        """Send SIGTERM, wait, and return the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@contextmanager
def process(directory: Path, **environment: str) -> Iterator[Process]:
    """Serve `directory` from a separate process until the test ends or stops it.

    OPEN_FILES is its limit on file descriptors.
    """
    log = directory.parent / f"{directory.name}.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            ["sh", "-c", _LIMITED, "sh", sys.executable, "-c", _SERVE, str(directory)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "AKIDB_LOG_FORMAT": "json", **environment},
        ) as started,
    ):
        assert started.stdout is not None
        line = started.stdout.readline()
        assert line, log.read_text()
        url, _, path = line.strip().partition(" ")
        try:
            yield Process(started, url, Path(path), log)
        finally:
            if started.poll() is None:
                started.terminate()


class Threaded(NamedTuple):
    """A server in a thread, with its internals."""

    app: Application
    operations: LocalOperations
    url: str
    server: Server


@contextmanager
def threaded(directory: Path, limits: Limits = LIMITS, **settings: Any) -> Iterator[Threaded]:
    """Serve `directory` from a thread of this process."""
    chosen = Settings(**settings)
    operations = open_local(directory, chosen)
    assert operations.directory is not None
    tcp, unix = bind_tcp("127.0.0.1", 0), UnixSocket(operations.directory)
    app = create_app(operations, chosen, limits)
    listening = threading.Event()
    server = Server(app, listening.set)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [tcp, unix.bound]})
    thread.start()
    try:
        assert listening.wait(10)
        yield Threaded(app, operations, url_of(tcp), server)
    finally:
        server.stop()
        thread.join(30)
        unix.close()
        tcp.close()
        app.close()
        operations.close()
    assert not thread.is_alive()


def carry_out(
    monkeypatch: pytest.MonkeyPatch,
    running: Threaded,
    by_request: dict[type[Request[Any]], Callable[..., Any]],
) -> None:
    """Replace the handlers of these request types."""
    perform = running.operations.perform

    def chosen(request: Request[Any], **ends: Any) -> Any:
        handler: Callable[..., Any] = by_request.get(type(request), perform)
        return handler(request, **ends)

    monkeypatch.setattr(running.operations, "perform", chosen)


def client(url: str) -> httpx.Client:
    """A client with a persistent connection. It declares an empty POST as JSON, as the server requires."""
    return httpx.Client(base_url=url, timeout=30, event_hooks={"request": [_declare_empty_body]})


def _declare_empty_body(request: httpx.Request) -> None:
    if request.method == "POST" and request.headers.get("content-length") == "0":
        request.headers.setdefault("content-type", "application/json")


def sending(url: str, data: bytes, *, unread_bytes: int | None = None) -> socket.socket:
    """A connection on which these bytes were sent. `unread_bytes` is the size of its receive buffer."""
    address = httpx.URL(url)
    connected = socket.socket()
    connected.settimeout(30)
    if unread_bytes is not None:
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, unread_bytes)
    connected.connect((address.host, address.port))
    connected.sendall(data)
    return connected


def head(method: str, path: str, *headers: str) -> bytes:
    """A request head."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


def json_head(path: str, length: int) -> bytes:
    """The head of a POST with a JSON body."""
    return head("POST", path, "Content-Type: application/json", f"Content-Length: {length}")


def said(connection: socket.socket) -> bytes:
    """What the server sends until it ends the connection."""
    try:
        return b"".join(iter(lambda: connection.recv(65536), b""))
    except ConnectionResetError:
        return b""


def half_sent(url: str, body: bytes) -> socket.socket:
    """A connection on which the server has read half of a tenant creation request, and one before it."""
    connected = sending(url, head("GET", "/health/live"))
    assert connected.recv(65536).startswith(b"HTTP/1.1 200 ")
    connected.sendall(json_head("/v1/tenants", len(body)) + body[: len(body) // 2])
    # The server reads what has come before it answers what comes later.
    assert httpx.get(f"{url}/health/live").status_code == 200
    return connected


def unbegun(running: Threaded) -> list[int]:
    """The bytes that have arrived of the bodies of requests that have not begun."""
    connections: list[Any] = list(running.server.server_state.connections)
    arriving = [each._arriving for each in connections if each._arriving is not None]
    return [exchange.received_bytes for exchange in arriving if not exchange.begun]


def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait for it."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
