"""Requests over kept-alive connections, through TCP, TLS or a Unix socket. Knows nothing of AkiDB's routes.

A pool of sockets and the standard library's reading of answers: a request costs the client 0.1 ms,
httpx 0.5 ms, of the 0.7 ms that a search may take more over HTTP than in process.
"""

import os
import select
import socket
import ssl
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import OK, HTTPException, HTTPMessage, HTTPResponse
from typing import NamedTuple
from urllib.parse import urlsplit

from akidb.domain.errors import Unavailable
from akidb.ports.archive import ByteSink, ByteSource

CONNECT_TIMEOUT_SECONDS = 10.0
MAX_IDLE_CONNECTIONS = 64
_ONE_PACKET_BYTES = 64 * 1024
_PIECE_BYTES = 2**18


class Answer(NamedTuple):
    """What came back, whatever its status."""

    status: int
    headers: HTTPMessage
    body: bytes


class Transport:
    """A server, and the connections to it that are idle. Safe to use from several threads at once."""

    def __init__(self, url: str, *, timeout_seconds: float) -> None:
        """Speak to `http://HOST[:PORT][/PREFIX]`, `https://...`, or `unix:///PATH` of a socket."""
        parts = urlsplit(url)
        self.url = url
        self._timeout_seconds = timeout_seconds
        self._path = url.removeprefix("unix://") if parts.scheme == "unix" else None
        self._prefix = "" if self._path is not None else parts.path.rstrip("/")
        self._host = "localhost" if self._path is not None else parts.netloc
        self._address = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        # The one used last is taken first, so that those too many for the load grow old and are closed.
        self._idle: deque[socket.socket] = deque()
        self._process = os.getpid()
        self._closed = False

    def send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], *, safe: bool
    ) -> Answer:
        """Send one request and read its answer. Paths and headers must be printable.

        A `safe` one may be carried out twice: it is sent again when a kept connection turns out to
        be gone. Raises Unavailable when the server is not reached or does not answer.
        """
        head = self._head(method, path, body, headers)
        while True:
            connection, fresh = self._take()
            try:
                answer, keep = _exchange(connection, method, head, body)
            except TimeoutError:
                connection.close()
                raise Unavailable(
                    f"{self.url} did not answer within {self._timeout_seconds:g} seconds"
                ) from None
            except (HTTPException, OSError) as error:
                connection.close()
                if safe and not fresh:
                    continue
                raise Unavailable(
                    f"{self.url} broke off the connection before it answered ({type(error).__name__})"
                ) from None
            except BaseException:
                connection.close()  # an answer half read would be taken for that of the next request
                raise
            self._put_back(connection, keep=keep)
            return answer

    def fetch(self, path: str, headers: Mapping[str, str], target: ByteSink) -> Answer:
        """Read an answer of any size into `target`; one that is no success comes back with its body.

        Raises Unavailable as `send` does, also when the answer ends before its end.
        """
        head = self._head("GET", path, None, headers)
        with self._own_connection() as connection:
            connection.sendall(head)
            return _received(connection, "GET", target)

    def deliver(self, path: str, headers: Mapping[str, str], source: ByteSource) -> Answer:
        """Send a POST whose body is all that `source` gives, of any size, and read its answer."""
        head = self._head("POST", path, None, {**headers, "Transfer-Encoding": "chunked"})
        with self._own_connection() as connection:
            try:
                connection.sendall(head)
                while piece := source.read(_PIECE_BYTES):
                    connection.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
                connection.sendall(b"0\r\n\r\n")
            except (BrokenPipeError, ConnectionResetError):
                pass  # the server refuses it before all of it came, and has said why
            return _received(connection, "POST", None)

    @contextmanager
    def _own_connection(self) -> Iterator[socket.socket]:
        """A new connection for one long exchange, whose failures are told in our words."""
        if self._closed:
            raise Unavailable("the connection was closed")
        connection = self._connect()
        try:
            yield connection
        except TimeoutError:
            raise Unavailable(f"{self.url} did not go on within {self._timeout_seconds:g} seconds") from None
        except (HTTPException, ConnectionError) as error:
            raise Unavailable(f"{self.url} broke off the connection ({type(error).__name__})") from None
        finally:
            connection.close()

    def close(self) -> None:
        """Close the idle connections, and those in use when they come back."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _head(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> bytes:
        lines = [f"{method} {self._prefix}{path} HTTP/1.1", f"Host: {self._host}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body is not None or (method == "POST" and "Transfer-Encoding" not in headers):
            lines.append(f"Content-Length: {len(body or b'')}")
        return "\r\n".join([*lines, "", ""]).encode()

    def _take(self) -> tuple[socket.socket, bool]:
        """A connection, and whether it is a new one."""
        if self._closed:
            raise Unavailable("the connection was closed")
        if self._process != os.getpid():  # after a fork the parent goes on using its connections
            self._idle, self._process = deque(), os.getpid()
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self._connect(), True
            if _is_quiet(connection):
                return connection, False
            connection.close()

    def _put_back(self, connection: socket.socket, *, keep: bool) -> None:
        if keep and not self._closed and len(self._idle) < MAX_IDLE_CONNECTIONS:
            self._idle.append(connection)
        else:
            connection.close()

    def _connect(self) -> socket.socket:
        timeout = min(CONNECT_TIMEOUT_SECONDS, self._timeout_seconds)
        try:
            connection = (
                self._connect_tcp(timeout) if self._path is None else _connect_unix(self._path, timeout)
            )
        except OSError as error:
            raise Unavailable(f"cannot reach {self.url}: {error.strerror or error}") from None
        connection.settimeout(self._timeout_seconds)
        return connection

    def _connect_tcp(self, timeout: float) -> socket.socket:
        connection = socket.create_connection(self._address, timeout)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                return self._tls.wrap_socket(connection, server_hostname=self._address[0])
        except BaseException:
            connection.close()
            raise
        return connection


def _connect_unix(path: str, timeout: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout)
        connection.connect(path)
    except BaseException:
        connection.close()
        raise
    return connection


def _exchange(connection: socket.socket, method: str, head: bytes, body: bytes | None) -> tuple[Answer, bool]:
    """The answer to a request, and whether the connection can be used again."""
    if body is None or len(body) <= _ONE_PACKET_BYTES:
        connection.sendall(head + (body or b""))
    else:
        connection.sendall(head)
        connection.sendall(body)
    with HTTPResponse(connection, method=method) as response:
        response.begin()
        answer = Answer(response.status, response.headers, response.read())
        return answer, not response.will_close


def _received(connection: socket.socket, method: str, target: ByteSink | None) -> Answer:
    """The answer that comes; the body of a success goes to `target`, if there is one."""
    with HTTPResponse(connection, method=method) as response:
        response.begin()
        if target is None or response.status != OK:
            return Answer(response.status, response.headers, response.read())
        while piece := response.read(_PIECE_BYTES):
            target.write(piece)
        return Answer(response.status, response.headers, b"")


def _is_quiet(connection: socket.socket) -> bool:
    """Whether nothing came on an idle connection; what comes unasked is its end."""
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return not poll.poll(0)
