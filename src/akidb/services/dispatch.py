"""Dispatch of requests to services: admission, tracing, validation, and one transaction per change.

Decorators mark each service method with the request that it handles:

- `in_transaction`: called with the current `Change`, and again if the database aborts the transaction.
  Audit entry, outbox entry and the response stored for an idempotency key commit in the same transaction;
- `in_read`: called with a metadata read transaction;
- `on_collection`: called with the resolved collection, once its states and the tenant's rate limit
  allow it;
- `handles`: called with the request only; the method manages its own transactions.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, TypeVar

from akidb.domain.entities import Scope
from akidb.domain.errors import AlreadyExists
from akidb.domain.lifecycle import require
from akidb.observe.operations import Running
from akidb.operations.declare import OPERATIONS, InCollection, Operation, Request
from akidb.ports.conflicts import ConnectionLost
from akidb.ports.disk import Disk
from akidb.ports.metadata import MetadataStore
from akidb.services.admission import Admission
from akidb.services.dimensions import Dimensions
from akidb.services.rate import RateLimiter
from akidb.services.retries import read_again
from akidb.services.scope_cache import ScopeCache
from akidb.services.transactions import Transactions

A = TypeVar("A")
HandlerT = TypeVar("HandlerT", bound=Callable[..., Any])

Kind = Literal["transaction", "read", "collection", "own"]
_MARK = "__carries_out__"


class _Mark(NamedTuple):
    request: type[Request[Any]]
    kind: Kind
    after: str | None


class Handler(NamedTuple):
    """A service method and the operation that it implements."""

    row: Operation
    call: Callable[..., Any]
    kind: Kind
    after: Callable[[], None] | None


def _marking(
    request: type[Request[Any]], kind: Kind, after: str | None = None
) -> Callable[[HandlerT], HandlerT]:
    def mark(handler: HandlerT) -> HandlerT:
        setattr(handler, _MARK, _Mark(request, kind, after))
        return handler

    return mark


def in_transaction(
    request: type[Request[Any]], *, after: str | None = None
) -> Callable[[HandlerT], HandlerT]:
    """Mark a method that makes a change; `after` names a method to call after the commit."""
    return _marking(request, "transaction", after)


def in_read(request: type[Request[Any]]) -> Callable[[HandlerT], HandlerT]:
    """Mark a method that reads metadata."""
    return _marking(request, "read")


def on_collection(request: type[InCollection[Any]]) -> Callable[[HandlerT], HandlerT]:
    """Mark a method that works on the documents of a collection."""
    return _marking(request, "collection")


def handles(request: type[Request[Any]]) -> Callable[[HandlerT], HandlerT]:
    """Mark a method that manages its own transactions or needs none."""
    return _marking(request, "own")


def handlers_of(service: object) -> Iterator[Handler]:
    """Yield the marked methods of a service."""
    for name, function in vars(type(service)).items():
        mark: _Mark | None = getattr(function, _MARK, None)
        if mark is not None:
            after = None if mark.after is None else getattr(service, mark.after)
            yield Handler(OPERATIONS[mark.request], getattr(service, name), mark.kind, after)


class Dispatcher:
    """Routes each request to its handler."""

    def __init__(
        self,
        admission: Admission,
        metadata: MetadataStore,
        transactions: Transactions,
        scopes: ScopeCache,
        dimensions: Dimensions,
        limiter: RateLimiter,
        disk: Disk,
    ) -> None:
        self._admission = admission
        self._metadata = metadata
        self._transactions = transactions
        self._scopes = scopes
        self._dimensions = dimensions
        self._limiter = limiter
        self._disk = disk
        self._handlers: dict[type[Request[Any]], Handler] = {}

    def add(self, service: object) -> None:
        """Register the marked methods of a service as handlers."""
        for handler in handlers_of(service):
            self._handlers[handler.row.request] = handler

    @property
    def handled(self) -> frozenset[type[Request[Any]]]:
        """The requests that have a handler."""
        return frozenset(self._handlers)

    def perform(self, request: Request[A], **ends: Any) -> A:
        """Execute a request, as specified by `akidb.operations.Operations`."""
        handler = self._handlers[type(request)]
        if handler.row.waits and not ends:
            answer: A = self.watch(request).wait(request.wait_seconds)  # type: ignore[attr-defined]
            return answer
        return self._run(handler, request, ends)  # type: ignore[no-any-return]

    def watch(self, request: Request[Any]) -> Any:
        """Return the `Watch` of a change feed; it counts as one operation, however long it waits."""
        return self._run(self._handlers[type(request)], request, {})

    def _run(self, handler: Handler, request: Request[Any], ends: dict[str, Any]) -> Any:
        row, kind = handler.row, handler.kind
        with self._admission, Running(row.name, self._admission.slow_operation_seconds):
            request = row.checked(request)
            if row.grows:
                if kind != "collection":  # documents are checked with their size where they are written
                    self._disk.require()
            elif row.changes:
                with self._disk.releasing():
                    return self._call(handler, request, ends)
            return self._call(handler, request, ends)

    def _call(self, handler: Handler, request: Any, ends: dict[str, Any]) -> Any:
        row, call, kind, after = handler
        if ends and kind != "own":
            raise TypeError(f"{row.name} takes no {', '.join(ends)}")
        if kind == "transaction":
            answer = self._transactions.carry_out(row, request, lambda change: call(change, request))
            if after is not None:
                after()
            return answer
        try:
            return self._answer(handler, request, ends)
        except ConnectionLost:
            if row.changes or ends:
                raise
        return read_again(lambda: self._answer(handler, request, ends), "metadata")

    def _answer(self, handler: Handler, request: Any, ends: dict[str, Any]) -> Any:
        """Call a handler that makes no metadata change, or manages its own transactions."""
        row, call, kind, _ = handler
        if kind == "own":
            try:
                return call(request, **ends)
            except AlreadyExists as error:
                raise self._transactions.explained(error, request) from None
        if kind == "collection":
            return call(self._scope(row, request), request)
        with self._metadata.read() as tx:
            return call(tx, request)

    def _scope(self, row: Operation, request: Any) -> Scope:
        """Find the collection, check its states, and take a token from the tenant's rate limiter."""
        scope = self._scopes.find(request.tenant, request.database, request.collection)
        if row.needs is not None:
            require(row.needs, scope.tenant.status, scope.database.state, scope.collection.state)
        self._limiter.take(scope.tenant, row.tokens_of(request))
        return scope if scope.collection.dimension is not None else self._dimensions.known(scope)
