"""Request bodies: read with a size limit, then decoded as JSON of a declared type."""

import codecs
from contextlib import suppress
from typing import Any, TypeVar

from litestar.types import Receive

from akidb.api.errors import PayloadTooLarge
from akidb.api.headers import Headers, check_type
from akidb.api.limits import Limits
from akidb.api.room import Share
from akidb.domain.errors import InvalidArgument
from akidb.domain.json_batch import decode_bounded
from akidb.observe.right_of_way import give_way

T = TypeVar("T")
Body = bytes | bytearray


class ClientDisconnected(Exception):
    """The client disconnected before its request was complete, so no response can be sent."""


async def read(
    headers: Headers,
    receive: Receive,
    share: Share | None,
    limits: Limits,
    *,
    wanted: bool,
    or_arrow: bool = False,
) -> Body:
    """Read the whole body, with or without a Content-Length. Its bytes are added to `share`, if wanted.

    An unexpected body (`wanted` is false) is refused rather than ignored. A wanted one must be declared as
    JSON, or possibly as Arrow, even if it is empty: any page can send a POST without a Content-Type.
    Raises PayloadTooLarge, RequestTimeout if it arrives too slowly, and Overloaded if all bodies together
    are too large.
    """
    announced = headers.get(b"content-length", b"0")
    if announced == b"0" and b"transfer-encoding" not in headers:
        if wanted:
            check_type(headers, or_arrow=or_arrow)
        return b""
    if not wanted or share is None:
        raise InvalidArgument("body", "must be empty here")
    check_type(headers, or_arrow=or_arrow)
    if announced.isdigit() and int(announced) > limits.body_bytes:
        raise PayloadTooLarge(limits.body_bytes)
    body = bytearray()
    try:
        return await _read_into(body, receive, share, limits)
    except BaseException:
        body.clear()  # the traceback of the error keeps it
        raise


async def _read_into(body: bytearray, receive: Receive, share: Share, limits: Limits) -> Body:
    while True:
        message: Any = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnected
        chunk = message.get("body", b"")
        if len(body) + len(chunk) > limits.body_bytes:
            raise PayloadTooLarge(limits.body_bytes)
        if len(body) + len(chunk) > limits.free_bytes:
            await share.grow(len(body) + len(chunk) - max(limits.free_bytes, len(body)))
        more = message.get("more_body", False)
        if more or body:
            body += chunk
        if not more:
            share.is_settled = True
            return body or chunk


def give_back(body: Body) -> None:
    """Free the memory of a long body now: the traceback of an error keeps it until the next collection."""
    if isinstance(body, bytearray):
        with suppress(BufferError):  # it is still being decoded, for a client that is gone
            body.clear()


def decode(body: Body, shape: type[T], *, optional: bool) -> T:
    """Decode a body. If the body is `optional`, an empty one is read as an empty object.

    Raises InvalidArgument with the path of the invalid value.
    """
    if not body:
        if not optional:
            raise InvalidArgument("body", "is required")
        body = b"{}"
    elif body[:3] == codecs.BOM_UTF8:  # as Windows programs write it; another UTF is refused
        body = body[3:]
    return decode_bounded(body, shape, give_way)
