"""Parses request headers: origin, request ID, condition, idempotency key.

`origin_fault` substitutes for authentication until there is one: it blocks requests from web pages of other
sites and ports, including DNS rebinding to a loopback address.
"""

import ipaddress
import re
import secrets
from collections.abc import Mapping

from akidb.api.errors import UnsupportedMediaType
from akidb.domain.errors import InvalidArgument
from akidb.ports import arrow

Headers = Mapping[bytes, bytes]
"""By lower-case name; the last value of a repeated header."""

MAX_USER_AGENT_CHARACTERS = 255

_SINGLE = {
    name.lower().encode(): name
    for name in ("Content-Type", "Content-Encoding", "Idempotency-Key", "If-Match", "X-Request-ID")
}
_AUTHORITY = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[^:\[\]@/?#]+)(?::[0-9]{1,5})?")
_USUAL_HOSTS = frozenset({b"localhost", b"127.0.0.1", b"[::1]"})
_OWN_SITES = ([b"same-origin"], [b"none"])
_VERSION = re.compile(rb'"([1-9][0-9]{0,18})"')
_KEY = re.compile(rb"[\x20-\x7e]{1,255}")
_REQUEST_ID = re.compile(rb"[\x20-\x7e]{1,128}")
_TRACE_PARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_JSON_TYPE = re.compile(rb'application/json\s*(;\s*charset\s*=\s*"?utf-8"?\s*)?', re.IGNORECASE)
_ARROW_TYPE = arrow.MEDIA_TYPE.encode()
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


def repetition_fault(headers: list[tuple[bytes, bytes]]) -> InvalidArgument | None:
    """Return an error for a repeated single-value header, or None."""
    seen = set()
    for name, _ in headers:
        if name in seen and name in _SINGLE:
            return InvalidArgument(_SINGLE[name], "must not be repeated")
        seen.add(name)
    return None


def origin_fault(headers: list[tuple[bytes, bytes]], *, is_page: bool = False) -> InvalidArgument | None:
    """Return an error if a request over TCP may come from a page of another site or port, or None.

    Browsers add `Origin` to each POST and to a script's requests to other origins, and `Sec-Fetch-Site` to
    every request, including those for images, forms and links. Any site may link to a page (`is_page`).
    """
    hosts, sites, destination = [], [], b""
    origins = []
    for name, value in headers:
        if name == b"host":
            hosts.append(value)
        elif name == b"origin":
            origins.append(value)
        elif name == b"sec-fetch-site":
            sites.append(value)
        elif name == b"sec-fetch-dest":
            destination = value
    if len(hosts) != 1:
        return InvalidArgument("Host", "must be given exactly once")
    if not _is_loopback(hosts[0]):
        return InvalidArgument("Host", "must be localhost or a loopback address")
    if origins and origins != [b"http://" + hosts[0].lower()]:
        return InvalidArgument("Origin", "must be absent or http:// and the Host")
    if sites and sites not in _OWN_SITES and not (is_page and destination == b"document"):
        return InvalidArgument("Sec-Fetch-Site", "must be absent, same-origin or none")
    return None


def _is_loopback(authority: bytes) -> bool:
    parts = _AUTHORITY.fullmatch(authority)
    if parts is None:
        return False
    host = parts[1].lower()
    return host in _USUAL_HOSTS or _is_loopback_address(host)


def _is_loopback_address(host: bytes) -> bool:
    try:
        return ipaddress.ip_address(host.decode("latin-1").strip("[]")).is_loopback
    except ValueError:
        return False


def request_id(headers: Headers) -> str:
    """Return the client's request ID, or a new one if it is missing or malformed."""
    given = headers.get(b"x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given.decode("ascii")
    return secrets.token_hex(16)


def trace_id(headers: Headers) -> str | None:
    """Return the trace ID of the request (W3C Trace Context), or None."""
    given = headers.get(b"traceparent")
    parent = None if given is None else _TRACE_PARENT.fullmatch(given)
    return None if parent is None else parent[1].decode("ascii")


def user_agent(headers: Headers) -> str | None:
    """Return the user agent, sanitized for storage: printable ASCII, truncated."""
    given = headers.get(b"user-agent")
    if not given:
        return None
    return _UNPRINTABLE.sub("?", given.decode("latin-1"))[:MAX_USER_AGENT_CHARACTERS]


def idempotency_key(headers: Headers) -> str | None:
    """Return the idempotency key. Raises InvalidArgument unless it is 1-255 printable ASCII characters."""
    given = headers.get(b"idempotency-key")
    if given is None:
        return None
    if not _KEY.fullmatch(given):
        raise InvalidArgument("Idempotency-Key", "must be 1-255 printable ASCII characters")
    return given.decode("ascii")


def wanted_version(headers: Headers) -> int | None:
    """Return the version in `If-Match`; None for any.

    Entity tags are the version in quotes. Raises InvalidArgument for other tags, including weak ones
    (RFC 9110, 13.1.1).
    """
    given = headers.get(b"if-match")
    if given is None or given == b"*":
        return None
    tag = _VERSION.fullmatch(given)
    if tag is None:
        raise InvalidArgument("If-Match", 'must be "<version>", as in an ETag, or *')
    return int(tag[1])


def is_arrow(headers: Headers) -> bool:
    """Return whether the body is declared as an Arrow stream."""
    return headers.get(b"content-type", b"").strip().lower() == _ARROW_TYPE


def check_type(headers: Headers, *, or_arrow: bool) -> None:
    """Raise UnsupportedMediaType unless the body is JSON, or possibly an Arrow stream, and not compressed."""
    if not (or_arrow and is_arrow(headers)) and not _JSON_TYPE.fullmatch(headers.get(b"content-type", b"")):
        wanted = f"application/json or {arrow.MEDIA_TYPE}" if or_arrow else "application/json"
        raise UnsupportedMediaType("Content-Type", wanted)
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise UnsupportedMediaType("Content-Encoding", "absent")
