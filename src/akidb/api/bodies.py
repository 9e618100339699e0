"""Request bodies: read with a size limit, then decoded as JSON of a declared type."""

import asyncio
from typing import Any, TypeVar

from litestar.types import Receive

from akidb.api.errors import PayloadTooLarge, RequestTimeout
from akidb.api.headers import Headers, check_json
from akidb.domain.errors import InvalidArgument
from akidb.domain.json import decode_strict

MAX_BODY_BYTES = 64 * 2**20
STALL_SECONDS = 60.0
"""The longest pause while a client sends its body."""

T = TypeVar("T")


class ClientDisconnected(Exception):
    """The client disconnected before its request was complete, so no response can be sent."""


async def read(headers: Headers, receive: Receive, *, wanted: bool) -> bytes:
    """Read the whole body, up to 64 MiB, with or without a Content-Length.

    An unexpected body (`wanted` is false) is refused rather than ignored. A wanted one must be declared as
    JSON, even if it is empty: any page can send a POST without a Content-Type.
    Raises RequestTimeout if no data arrives for a minute.
    """
    announced = headers.get(b"content-length", b"0")
    if announced == b"0" and b"transfer-encoding" not in headers:
        if wanted:
            check_json(headers)
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
    """Read the whole body; every chunk restarts the timeout."""
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
    """Decode a body. If the body is `optional`, an empty one is read as an empty object.

    Raises InvalidArgument with the path of the invalid value.
    """
    if not body:
        if not optional:
            raise InvalidArgument("body", "is required")
        body = b"{}"
    return decode_strict(body, shape)
