"""What a route is.

Most are made from the table of operations (`akidb.api.operations`). Those that are not, such as `/metrics`,
are functions whose signature says what they take and return:

    @routes.get("/health/live", inline=True)
    def live(call: Call) -> Health: ...

A parameter `body` is a Struct. From a route come its registration with Litestar, the decoding of what is
sent, and its description in OpenAPI.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar, get_type_hints

import msgspec

from akidb.api.long_poll import LongPolls
from akidb.api.metrics import Metrics
from akidb.api.workers import Workers
from akidb.deployment.local import LocalOperations
from akidb.domain.errors import AkiDBError
from akidb.operations.declare import Operation
from akidb.settings import Settings

HandlerT = TypeVar("HandlerT", bound=Callable[..., Any])

JSON = "application/json"

_PLACE = re.compile(r"\{(\w+)\}")


class App(Protocol):
    """The application, as routes see it."""

    operations: LocalOperations
    settings: Settings
    metrics: Metrics
    workers: Workers
    long_polls: LongPolls

    @property
    def description(self) -> bytes:
        """The OpenAPI document, as JSON."""
        ...

    @property
    def page(self) -> bytes:
        """The same as a page for people, as HTML."""
        ...


class Call:
    """One request as a handler sees it."""

    __slots__ = ("app", "is_local", "operations", "places")

    def __init__(self, app: App, places: Mapping[str, str], *, is_local: bool) -> None:
        self.app = app
        self.operations = app.operations
        self.places = places
        """What stands in the path for `{tenant}` and the others, decoded."""
        self.is_local = is_local
        """Whether it came through the Unix socket."""


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a POST that has nothing to say."""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A method on a path, and what carries it out."""

    method: str
    path: str
    tag: str
    name: str
    summary: str
    description: str = ""
    handler: Callable[..., Any]
    answer: Any
    """The type of what the handler returns; bytes are sent as they are."""
    status: int = 200
    operation: Operation | None = None
    """The row that it was made from, if any."""
    body: type[msgspec.Struct] | None = None
    """How a body is decoded."""
    body_schema: type[msgspec.Struct] | None = None
    """The same with types and bounds, for the description."""
    takes_key: bool = False
    """Whether it changes something and takes an Idempotency-Key."""
    inline: bool = False
    """Whether it is so quick, and so needed under load, that it runs on the event loop, unbounded."""
    aside: bool = False
    """Whether it has a thread of its own, since it may wait, and is needed most when the others are taken."""
    slow: bool = False
    """Whether it may take seconds, as embedding does, so that it must leave threads to the others."""
    media_type: str = JSON
    raises: tuple[type[AkiDBError], ...] = ()
    """Errors that its form does not tell of, for the description."""

    @property
    def places(self) -> list[str]:
        """The names in braces of the path."""
        return _PLACE.findall(self.path)

    @property
    def is_conditional(self) -> bool:
        """Whether If-Match is obeyed."""
        return self.operation is not None and self.operation.is_conditional

    @property
    def takes_stream(self) -> bool:
        """Whether the handler reads a body of any size from `source`."""
        return self.operation is not None and self.operation.takes == "bytes"

    @property
    def gives_stream(self) -> bool:
        """Whether the handler writes an answer of any size to `sink`."""
        return self.operation is not None and self.operation.gives == "bytes"

    @property
    def body_optional(self) -> bool:
        """Whether no body is the same as an empty object."""
        return self.body is not None and not any(f.required for f in msgspec.structs.fields(self.body))

    @property
    def operation_id(self) -> str:
        """The name of the operation in the OpenAPI description."""
        return f"{self.tag}.{self.name}"


class Routes(list[Route]):
    """Routes that are written by hand, in the order of their declaration."""

    def __init__(self, tag: str) -> None:
        super().__init__()
        self.tag = tag

    def get(
        self, path: str, *, inline: bool = False, aside: bool = False, media_type: str = JSON
    ) -> Callable[[HandlerT], HandlerT]:
        """Declare a route that reads."""
        return self._declare("GET", path, inline=inline, aside=aside, media_type=media_type)

    def post(
        self, path: str, *, changes: bool = True, raises: tuple[type[AkiDBError], ...] = ()
    ) -> Callable[[HandlerT], HandlerT]:
        """Declare a route that may take seconds, and changes something unless it is said not to."""
        return self._declare("POST", path, takes_key=changes, slow=True, raises=raises)

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
