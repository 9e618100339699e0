"""Routes.

Most are generated from the table of operations (`akidb.api.operations`). The others, such as `/metrics`,
are functions whose signature declares their input and output:

    @routes.get("/health/live", inline=True)
    def live(call: Call) -> Health: ...

A parameter `body` is a Struct. A route determines its registration with Litestar, the decoding of its input,
and its OpenAPI description.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar, get_type_hints

import msgspec

from akidb.api.limits import Limits
from akidb.api.long_poll import LongPolls
from akidb.api.metrics import Metrics
from akidb.api.room import Room
from akidb.api.stream_places import StreamPlaces
from akidb.api.workers import Workers
from akidb.deployment.local import LocalOperations
from akidb.domain.errors import AkiDBError
from akidb.operations.declare import Operation, Work
from akidb.settings import Settings

HandlerT = TypeVar("HandlerT", bound=Callable[..., Any])

JSON = "application/json"

_PLACE = re.compile(r"\{(\w+)\}")


class App(Protocol):
    """The application, as routes see it."""

    operations: LocalOperations
    settings: Settings
    metrics: Metrics
    limits: Limits
    workers: Workers
    bodies: Room
    answers: Room
    streams: StreamPlaces
    local_streams: StreamPlaces
    long_polls: LongPolls

    @property
    def description(self) -> bytes:
        """The OpenAPI document, as JSON."""

    @property
    def page(self) -> bytes:
        """The OpenAPI document as an HTML page."""


class Call:
    """One request as a handler sees it."""

    __slots__ = ("app", "is_local", "operations", "places", "work")

    def __init__(self, app: App, places: Mapping[str, str], *, is_local: bool, work: Work) -> None:
        self.app = app
        self.operations = app.operations
        self.places = places
        """The decoded path parameters, such as `tenant`."""
        self.is_local = is_local
        """Whether it arrived on the Unix socket."""
        self.work = work
        """The kind of work for which it has a slot."""


class Later(NamedTuple):
    """The rest of a request that needs a slot for another kind of work than it has."""

    work: Work
    perform: Callable[[], Any]


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a POST without fields."""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A method on a path, with its handler."""

    method: str
    path: str
    tag: str
    name: str
    summary: str
    description: str = ""
    handler: Callable[..., Any]
    answer: Any
    """The return type of the handler; bytes are sent unchanged."""
    status: int = 200
    operation: Operation | None = None
    """The operation that it was generated from, if any."""
    body: type[msgspec.Struct] | None = None
    """The type that a body is decoded to."""
    body_schema: type[msgspec.Struct] | None = None
    """The body type with bounds, for the OpenAPI description."""
    takes_key: bool = False
    """Whether it changes data and accepts an Idempotency-Key."""
    inline: bool = False
    """Whether it runs on the event loop without admission control: fast, and needed under load."""
    aside: bool = False
    """Whether it runs in a thread of its own: it may block, and is needed most under load."""
    work: Work = Work.QUICK
    """The kind of its work, unless the operation's fields make it another (`Operation.work_of`)."""
    media_type: str = JSON
    raises: tuple[type[AkiDBError], ...] = ()
    """Additional errors for the OpenAPI description."""

    @property
    def places(self) -> list[str]:
        """The names of the path parameters."""
        return _PLACE.findall(self.path)

    @property
    def is_conditional(self) -> bool:
        """Whether it supports If-Match."""
        return self.operation is not None and self.operation.is_conditional

    @property
    def takes_stream(self) -> bool:
        """Whether the handler reads a body of any size from `source`."""
        return self.operation is not None and self.operation.takes == "bytes"

    @property
    def gives_stream(self) -> bool:
        """Whether the handler writes a response of any size to `sink`."""
        return self.operation is not None and self.operation.gives == "bytes"

    @property
    def arrow(self) -> str | None:
        """The field that may be the body as an Arrow stream."""
        return None if self.operation is None or self.body is None else self.operation.arrow

    @property
    def body_optional(self) -> bool:
        """Whether a missing body is read as an empty object."""
        return self.body is not None and not any(f.required for f in msgspec.structs.fields(self.body))

    @property
    def operation_id(self) -> str:
        """The name of the operation in the OpenAPI description."""
        return f"{self.tag}.{self.name}"


class Routes(list[Route]):
    """Handwritten routes, in the order of their declaration."""

    def __init__(self, tag: str) -> None:
        super().__init__()
        self.tag = tag

    def get(
        self, path: str, *, inline: bool = False, aside: bool = False, media_type: str = JSON
    ) -> Callable[[HandlerT], HandlerT]:
        """Declare a read-only route."""
        return self._declare("GET", path, inline=inline, aside=aside, media_type=media_type)

    def post(
        self, path: str, *, changes: bool = True, raises: tuple[type[AkiDBError], ...] = ()
    ) -> Callable[[HandlerT], HandlerT]:
        """Declare a route with slow work that, unless `changes` is false, changes data."""
        return self._declare("POST", path, takes_key=changes, work=Work.SLOW, raises=raises)

    def _declare(self, method: str, path: str, **options: Any) -> Callable[[HandlerT], HandlerT]:
        def declare(handler: HandlerT) -> HandlerT:
            hints = get_type_hints(handler)
            summary, _, description = (inspect.getdoc(handler) or "").partition("\n\n")
            body = hints.get("body", Nothing if method == "POST" else None)
            self.append(
                Route(
                    method=method,
                    path=path,
                    tag=self.tag,
                    name=handler.__name__.rstrip("_"),
                    summary=summary.removesuffix("."),
                    description=" ".join(description.split()),
                    handler=handler,
                    body=body,
                    body_schema=body,
                    answer=hints["return"],
                    **options,
                )
            )
            return handler

        return declare
