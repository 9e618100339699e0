"""Bodies as they come in: bounded bytes, then JSON of a declared shape."""

import asyncio
from typing import Any, TypeVar

from litestar.types import Receive

from akidb.api.errors import PayloadTooLarge, RequestTimeout
from akidb.api.headers import Headers, check_json
from akidb.domain.errors import InvalidArgument
from akidb.domain.json import decode_strict

MAX_BODY_BYTES = 64 * 2**20
STALL_SECONDS = 60.0
"""How long a client may send nothing in the midst of its body."""

T = TypeVar("T")


class ClientDisconnected(Exception):
    """The client left before its request was complete; there is nobody to answer."""


async def read(headers: Headers, receive: Receive, *, wanted: bool) -> bytes:
    """Read all of a body, up to 64 MiB, counting also what no Content-Length announced.

    A body where none is `wanted` is refused rather than ignored, and one that is not JSON always. One
    of which nothing comes for a minute raises RequestTimeout.
    """
    announced = headers.get(b"content-length", b"0")
    if announced == b"0" and b"transfer-encoding" not in headers:
        if b"content-type" in headers and wanted:
            check_json(headers)  # a form without fields is still what a foreign page can send
        return b""
    if not wanted:
        raise InvalidArgument("body", "must be empty here")
    check_json(headers)
    if announced.isdigit() and int(announced) > MAX_BODY_BYTES:
        raise PayloadTooLarge(MAX_BODY_BYTES)
    try:
        async with asyncio.timeout(STALL_SECONDS) as stall:
            return await _all(receive, stall)
    except TimeoutError:
        raise RequestTimeout(STALL_SECONDS) from None


async def _all(receive: Receive, stall: asyncio.Timeout) -> bytes:
    """All of a body, whose every piece puts the end of patience off."""
    now = asyncio.get_running_loop().time
    chunks: list[bytes] = []
    size = 0
    while True:
        message: Any = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise PayloadTooLarge(MAX_BODY_BYTES)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)
        stall.reschedule(now() + STALL_SECONDS)


def decode(body: bytes, shape: type[T], *, optional: bool) -> T:
    """Decode a body. An empty one is the empty object where a body is `optional`.

    Raises InvalidArgument with the path of what is wrong.
    """
    if not body:
        if not optional:
            raise InvalidArgument("body", "is required")
        body = b"{}"
    return decode_strict(body, shape)
