"""Request context beside the arguments: request ID, client address, user agent and idempotency key.

A front end binds it around the call; services read it. In-process calls use an empty context by default.
The tenant that a request concerns is recorded during the call, for logs and traces.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Self

import msgspec

from akidb.domain.errors import AkiDBError, InvalidArgument
from akidb.domain.ids import TenantId

MAX_KEY_LENGTH = 255
MAX_REQUEST_ID_LENGTH = 128


class RequestContext(msgspec.Struct, frozen=True, kw_only=True):
    """The context of one request."""

    request_id: str | None = None
    idempotency_key: str | None = None
    ip_address: str | None = None
    user_agent: str | None = None
    is_local: bool = True
    """Whether the caller is on this machine, and may be told of its paths and settings."""
    trace_id: str | None = None
    """ID of the trace that the request belongs to: 32 hex digits."""


_current: ContextVar[RequestContext] = ContextVar("akidb_request", default=RequestContext())  # noqa: B039


def current() -> RequestContext:
    """Return the context of the current request, or an empty one."""
    return _current.get()


def said(error: AkiDBError) -> str:
    """Return what the current caller may be told of an error."""
    return error.message if current().is_local else error.public


def check_token(value: object, field: str, maximum: int) -> None:
    """Require a valid header value: 1 to `maximum` printable ASCII characters. None passes."""
    if value is None:
        return
    if not isinstance(value, str) or not 1 <= len(value) <= maximum:
        raise InvalidArgument(field, f"must be 1-{maximum} characters")
    if not (value.isascii() and value.isprintable()) or value != value.strip():
        raise InvalidArgument(field, "must be printable ASCII without leading or trailing spaces")


@contextmanager
def bound(context: RequestContext) -> Iterator[None]:
    """Make this the current context while the block runs."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def request(*, idempotency_key: str | None = None, request_id: str | None = None) -> Iterator[None]:
    """Set an idempotency key, a request ID, or both for the calls in the block.

    A mutating call that is repeated with the same key within 24 hours has no further effect and returns
    the result of the first one.
    """
    check_token(idempotency_key, "idempotency_key", MAX_KEY_LENGTH)
    check_token(request_id, "request_id", MAX_REQUEST_ID_LENGTH)
    with bound(RequestContext(idempotency_key=idempotency_key, request_id=request_id)):
        yield


class WorkSubject:
    """The tenant that the current work concerns. Use it as a context manager.

    Nested work has its own subject, which is copied to the outer one when it ends.
    """

    __slots__ = ("_outer", "_token", "tenant_id")

    def __init__(self) -> None:
        self.tenant_id: TenantId | None = None

    def __enter__(self) -> Self:
        self._enter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def _enter(self) -> None:
        self._outer = _subject.get()
        self._token: Token[WorkSubject | None] = _subject.set(self)

    def _leave(self) -> None:
        _subject.reset(self._token)
        if self._outer is not None and self.tenant_id is not None:
            self._outer.tenant_id = self.tenant_id


_subject: ContextVar[WorkSubject | None] = ContextVar("akidb_subject", default=None)


def note_tenant(tenant_id: TenantId) -> None:
    """Record the tenant of the current work, once known."""
    subject = _subject.get()
    if subject is not None:
        subject.tenant_id = tenant_id


def tenant_id() -> TenantId | None:
    """Return the tenant of the current work, None if not yet known."""
    subject = _subject.get()
    return None if subject is None else subject.tenant_id
