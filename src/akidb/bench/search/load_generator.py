"""Clients of an HTTP server, in one thread: each sends its next request after a response."""

import selectors
import socket
import time
from collections.abc import Sequence
from typing import NamedTuple

_READ = 1 << 16


class Answers(NamedTuple):
    """Seconds of each request, and of all together."""

    seconds: list[float]
    elapsed: float


class _Client:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent = 0.0
        self._received = b""

    def send(self, request: bytes) -> None:
        self._received, self.sent = b"", time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Read; return whether the response is complete. Raises ValueError unless it is a 200."""
        read = self.socket.recv(_READ)
        if not read:
            raise ValueError("the server closed a connection")
        self._received += read
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return False
        lines = head.lower().split(b"\r\n")
        if b" 200 " not in lines[0] + b" ":
            raise ValueError(self._received[:300].decode(errors="replace"))
        lengths = [int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")]
        return len(body) >= lengths[0] if lengths else body.endswith(b"0\r\n\r\n")


def post(path: str, body: bytes) -> bytes:
    """Return a request as it is sent."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def drive(port: int, requests: Sequence[bytes], clients: int, seconds: float) -> Answers:
    """Send the requests again and again for this time. Raises ValueError for a response that is not a 200."""
    taken: list[float] = []
    number = 0
    with selectors.DefaultSelector() as waiting:
        connected = [_Client(port) for _ in range(clients)]
        try:
            started = time.perf_counter()
            for client in connected:
                waiting.register(client.socket, selectors.EVENT_READ, client)
                client.send(requests[number % len(requests)])
                number += 1
            while time.perf_counter() - started < seconds:
                for key, _ in waiting.select(1.0):
                    client = key.data
                    if client.receive():
                        taken.append(time.perf_counter() - client.sent)
                        client.send(requests[number % len(requests)])
                        number += 1
            elapsed = time.perf_counter() - started
        finally:
            for client in connected:
                client.socket.close()
    return Answers(taken, elapsed)
