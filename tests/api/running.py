"""Test servers: a separate process, or a thread of this process where a test needs access to internals."""

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from akidb.api.app import Application, create_app
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
    """Serve `directory` from a separate process until the test ends or stops it."""
    log = directory.parent / f"{directory.name}.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [sys.executable, "-c", _SERVE, str(directory)],
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
def threaded(directory: Path, **settings: Any) -> Iterator[Threaded]:
    """Serve `directory` from a thread of this process."""
    chosen = Settings(**settings)
    operations = open_local(directory, chosen)
    assert operations.directory is not None
    tcp, unix = bind_tcp("127.0.0.1", 0), UnixSocket(operations.directory)
    app = create_app(operations, chosen)
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


def half_sent(url: str, body: bytes) -> socket.socket:
    """A connection on which half of a tenant creation request was sent."""
    address = httpx.URL(url)
    connected = socket.create_connection((address.host, address.port), timeout=30)
    head = (
        "POST /v1/tenants HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    connected.sendall(head.encode() + body[: len(body) // 2])
    return connected
