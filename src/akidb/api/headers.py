"""What the headers of a request say: where it comes from, its ID, its condition, its key.

`origin_fault` is what stands in for authentication until there is some: it keeps web pages out, also
those that rebind a name to a loopback address.
"""

import re
import secrets
from collections.abc import Mapping

from akidb.api.errors import UnsupportedMediaType
from akidb.domain.errors import InvalidArgument

Headers = Mapping[bytes, bytes]
"""By lower-case name; of those that come twice, the last."""

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "[::1]"})
MAX_USER_AGENT_CHARACTERS = 255

_SINGLE = {
    name.lower().encode(): name
    for name in ("Content-Type", "Content-Encoding", "Idempotency-Key", "If-Match", "X-Request-ID")
}
_AUTHORITY = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[^:\[\]@/?#]+)(?::[0-9]{1,5})?")
_ORIGIN = re.compile(rb"https?://([^/?#]+)")
_VERSION = re.compile(rb'"([1-9][0-9]{0,18})"')
_KEY = re.compile(rb"[\x20-\x7e]{1,255}")
_REQUEST_ID = re.compile(rb"[\x20-\x7e]{1,128}")
_TRACE_PARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_JSON_TYPE = re.compile(rb'application/json\s*(;\s*charset\s*=\s*"?utf-8"?\s*)?', re.IGNORECASE)
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


def repetition_fault(headers: list[tuple[bytes, bytes]]) -> InvalidArgument | None:
    """Say which header that has one value came twice, or return None."""
    seen = set()
    for name, _ in headers:
        if name in seen and name in _SINGLE:
            return InvalidArgument(_SINGLE[name], "must not be repeated")
        seen.add(name)
    return None


def origin_fault(headers: list[tuple[bytes, bytes]]) -> InvalidArgument | None:
    """Say why a request over TCP may come from a page of another site, or return None."""
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) != 1:
        return InvalidArgument("Host", "must be given, once")
    if not _is_loopback(hosts[0]):
        return InvalidArgument("Host", "must be localhost, 127.0.0.1 or [::1]")
    for name, value in headers:
        if name == b"origin" and not ((origin := _ORIGIN.fullmatch(value)) and _is_loopback(origin[1])):
            return InvalidArgument("Origin", "must be absent or of this machine")
    return None


def _is_loopback(authority: bytes) -> bool:
    parts = _AUTHORITY.fullmatch(authority)
    return parts is not None and parts[1].decode("latin-1").lower() in LOOPBACK_NAMES


def request_id(headers: Headers) -> str:
    """The caller's ID of the request, or a new one when there is none or it is not well-formed."""
    given = headers.get(b"x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given.decode("ascii")
    return secrets.token_hex(16)


def trace_id(headers: Headers) -> str | None:
    """The trace that the request belongs to (W3C Trace Context)."""
    given = headers.get(b"traceparent")
    parent = None if given is None else _TRACE_PARENT.fullmatch(given)
    return None if parent is None else parent[1].decode("ascii")


def user_agent(headers: Headers) -> str | None:
    """What the client calls itself, made safe to be kept: printable ASCII, cut off."""
    given = headers.get(b"user-agent")
    if not given:
        return None
    return _UNPRINTABLE.sub("?", given.decode("latin-1"))[:MAX_USER_AGENT_CHARACTERS]


def idempotency_key(headers: Headers) -> str | None:
    """The key of a POST. Raises InvalidArgument unless it is 1-255 printable ASCII characters."""
    given = headers.get(b"idempotency-key")
    if given is None:
        return None
    if not _KEY.fullmatch(given):
        raise InvalidArgument("Idempotency-Key", "must be 1-255 printable ASCII characters")
    return given.decode("ascii")


def wanted_version(headers: Headers) -> int | None:
    """The version that `If-Match` names; None for any.

    An entity tag of this server is its version in quotes; others, and weak ones (RFC 9110, 13.1.1),
    raise InvalidArgument.
    """
    given = headers.get(b"if-match")
    if given is None or given == b"*":
        return None
    tag = _VERSION.fullmatch(given)
    if tag is None:
        raise InvalidArgument("If-Match", 'must be "<version>", as an ETag says it, or *')
    return int(tag[1])


def check_json(headers: Headers) -> None:
    """Raise UnsupportedMediaType unless the body is JSON and not compressed."""
    if not _JSON_TYPE.fullmatch(headers.get(b"content-type", b"")):
        raise UnsupportedMediaType("Content-Type", "application/json")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise UnsupportedMediaType("Content-Encoding", "absent")
