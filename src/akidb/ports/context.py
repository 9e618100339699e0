"""What comes with a request beside its arguments: its ID, who asks, and its idempotency key.

A front end binds it around the call; services read it. In process the default holds.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import msgspec

from akidb.domain.errors import InvalidArgument

MAX_KEY_LENGTH = 255
MAX_REQUEST_ID_LENGTH = 128


class RequestContext(msgspec.Struct, frozen=True, kw_only=True):
    """The circumstances of one request."""

    request_id: str | None = None
    idempotency_key: str | None = None
    ip_address: str | None = None
    user_agent: str | None = None


_current: ContextVar[RequestContext] = ContextVar("akidb_request", default=RequestContext())  # noqa: B039


def current() -> RequestContext:
    """The context of the request being served, or an empty one."""
    return _current.get()


def check_token(value: object, field: str, maximum: int) -> None:
    """Refuse what a header could not carry: anything but 1 to `maximum` printable ASCII characters."""
    if value is None:
        return
    if not isinstance(value, str) or not 1 <= len(value) <= maximum:
        raise InvalidArgument(field, f"must be 1-{maximum} characters")
    if not (value.isascii() and value.isprintable()) or value != value.strip():
        raise InvalidArgument(field, "must be printable ASCII without spaces around it")


@contextmanager
def bound(context: RequestContext) -> Iterator[None]:
    """Serve what runs inside with this context."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def request(*, idempotency_key: str | None = None, request_id: str | None = None) -> Iterator[None]:
    """Give the calls inside an idempotency key, a request ID, or both.

    A call that changes something and is repeated with the same key within 24 hours has the effect,
    and gives the answer, of the first one.
    """
    check_token(idempotency_key, "idempotency_key", MAX_KEY_LENGTH)
    check_token(request_id, "request_id", MAX_REQUEST_ID_LENGTH)
    with bound(RequestContext(idempotency_key=idempotency_key, request_id=request_id)):
        yield
