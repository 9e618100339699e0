"""A package index: a real HTTP server with the page and the wheel of one project, and faults of real ones."""

import json
import threading
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

JSON = "application/vnd.pypi.simple.v1+json"


class Seen(NamedTuple):
    """A request that arrived."""

    path: str
    range: str | None
    user: str | None
    proxy_user: str | None


class PackageIndex:
    """What the server does. Change the attributes before requests."""

    def __init__(self, wheel: Path) -> None:
        self.name, self.content = wheel.name, wheel.read_bytes()
        self.sha256: str | None = None
        """The hash on the page; without it, the page has none."""
        self.kind = JSON
        self.page: bytes | None = None
        self.link = "../../files/"
        self.ranges = True
        self.ends_after: list[int] = []
        """How many bytes the next responses with the wheel have before the connection ends."""
        self.statuses: list[int] = []
        """Statuses of the next responses with the wheel instead of its content."""
        self.with_length = True
        self.pause_seconds = 0.0
        """Between the bytes of the next responses with the wheel."""
        self.shift = 0
        """By how much a range begins later than it was asked for."""
        self.elsewhere: dict[str, str] = {}
        """Redirections from paths to addresses."""
        self.user: str | None = None
        """Who may ask, as `USER:PASSWORD`; everyone by default."""
        self.seen: list[Seen] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/root"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def ranges_asked(self) -> list[str | None]:
        return [seen.range for seen in self.seen if self.name in seen.path]

    def of_page(self) -> bytes:
        if self.page is not None:
            return self.page
        url = f"{self.link}{self.name}"
        if self.kind.endswith("json"):
            hashes = {} if self.sha256 is None else {"sha256": self.sha256}
            other = {"filename": "tiny_model-0-py3-none-any.whl", "url": "x", "hashes": {}}
            files = [other, {"filename": self.name, "url": url, "hashes": hashes, "size": 1}]
            return json.dumps({"meta": {"api-version": "1.3"}, "name": "tiny", "files": files}).encode()
        fragment = "" if self.sha256 is None else f"#sha256={self.sha256}"
        return f"<html><a>no</a><a href='x'>x</a><a HREF=\"{url}{fragment}\">{self.name}</a>".encode()


def _handler(index: PackageIndex) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            user = _user(self.headers.get("Authorization"))
            proxy_user = _user(self.headers.get("Proxy-Authorization"))
            index.seen.append(Seen(self.path, self.headers.get("Range"), user, proxy_user))
            path = self.path.removeprefix("http://index.invalid")
            if index.user not in {None, user}:
                self.answer(401, b"who?")
            elif path in index.elsewhere:
                self.answer(302, b"", {"Location": index.elsewhere[path]})
            elif path in {"/root/tiny-model/", "/links"}:
                self.answer(200, index.of_page(), {"Content-Type": index.kind})
            elif path.startswith("/files/"):
                self.wheel()
            else:
                self.answer(404, b"no such page")

        def wheel(self) -> None:
            if index.statuses:
                self.answer(index.statuses.pop(0), b"not now")
                return
            content, start, range = index.content, 0, self.headers.get("Range")
            if range is not None and index.ranges:
                start = int(range.removeprefix("bytes=").removesuffix("-")) + index.shift
                if start >= len(content):
                    self.answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
                    return
            rest = content[start:]
            self.send_response(206 if start else 200)
            if start:
                end = f"{len(content) - 1}/{len(content)}"
                self.send_header("Content-Range", f"bytes {start}-{end}")
            if index.with_length:
                self.send_header("Content-Length", str(len(rest)))
            self.send_header("Connection", "close")
            self.end_headers()
            rest = rest[: index.ends_after.pop(0)] if index.ends_after else rest
            if index.pause_seconds:
                with suppress(OSError):
                    for byte in rest:
                        self.wfile.write(bytes([byte]))
                        time.sleep(index.pause_seconds)
            else:
                self.wfile.write(rest)

        def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None: ...

    return Handler


def _user(authorization: str | None) -> str | None:
    return None if authorization is None else b64decode(authorization.removeprefix("Basic ")).decode()


@contextmanager
def serving(index: PackageIndex) -> Iterator[PackageIndex]:
    """Serve an index on a free port of loopback."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(index))
    index.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield index
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
