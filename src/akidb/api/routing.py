"""The declaration of a route: a function whose signature says what it takes and gives.

    @routes.post("/v1/tenants", status=201)
    def create(call: Call, body: TenantCreation) -> Tenant: ...

From this one declaration come the registration with Litestar, the decoding of what is sent, and the
OpenAPI description. A parameter `body` or `query` is a Struct, and `if_version` is what If-Match names;
`source` is a body and `target` an answer of any size, in bytes.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_type_hints

import msgspec

from akidb.domain.changes import ChangePage
from akidb.domain.errors import AkiDBError
from akidb.ports.operations import CollectionPath, Operations

if TYPE_CHECKING:
    from akidb.api.app import Application

HandlerT = TypeVar("HandlerT", bound=Callable[..., Any])

JSON = "application/json"

_PLACE = re.compile(r"\{(\w+)\}")


class Call:
    """One request as a handler sees it."""

    __slots__ = ("app", "is_local", "operations", "places")

    def __init__(self, app: "Application", places: Mapping[str, str], *, is_local: bool) -> None:
        self.app = app
        self.operations: Operations = app.operations
        self.places = places
        """What stands in the path for `{tenant}` and the others, decoded."""
        self.is_local = is_local
        """Whether it came through the Unix socket."""

    @property
    def tenant(self) -> str:
        """The tenant that the path names."""
        return self.places["tenant"]

    @property
    def database(self) -> str:
        """The database that the path names."""
        return self.places["database"]

    @property
    def collection(self) -> str:
        """The collection that the path names."""
        return self.places["collection"]

    @property
    def user(self) -> str:
        """The user that the path names."""
        return self.places["user"]

    @property
    def collection_path(self) -> CollectionPath:
        """The collection with all that stands above it."""
        return CollectionPath(self.tenant, self.database, self.collection)


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """A method on a path, and what carries it out."""

    method: str
    path: str
    tag: str
    name: str
    summary: str
    description: str
    handler: Callable[..., Any]
    status: int
    query: type[msgspec.Struct] | None
    body: type[msgspec.Struct] | None
    conditional: bool
    """Whether If-Match is obeyed."""
    takes_key: bool
    """Whether it changes something and takes an Idempotency-Key."""
    inline: bool
    """Whether it is so quick, and so needed under load, that it runs on the event loop, unbounded."""
    aside: bool
    """Whether it has a thread of its own, since it may wait, and is needed most when the others are taken."""
    waits: bool
    """Whether the handler gives a reader that may wait for a change."""
    slow: bool
    """Whether it may take seconds, as embedding does, so that it must leave threads to the others."""
    media_type: str
    takes_stream: bool
    """Whether the handler reads a body of any size from `source`."""
    gives_stream: bool
    """Whether the handler writes an answer of any size to `target`."""
    answer: Any
    """The type of what the handler gives; bytes are sent as they are."""
    raises: tuple[type[AkiDBError], ...]
    """Errors that its form does not tell of, for the description."""

    @property
    def places(self) -> list[str]:
        """The names in braces of the path."""
        return _PLACE.findall(self.path)

    @property
    def body_optional(self) -> bool:
        """Whether no body is the same as an empty object."""
        return self.body is not None and not any(f.required for f in msgspec.structs.fields(self.body))

    @property
    def operation_id(self) -> str:
        """The name of the operation in the OpenAPI description."""
        return f"{self.tag}.{self.name}"


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a POST that has nothing to say."""


class Routes(list[Route]):
    """The routes of one feature, in the order of their declaration."""

    def __init__(self, tag: str, *, raises: tuple[type[AkiDBError], ...] = ()) -> None:
        super().__init__()
        self.tag = tag
        self.raises = raises

    def get(
        self, path: str, *, inline: bool = False, aside: bool = False, media_type: str = JSON
    ) -> Callable[[HandlerT], HandlerT]:
        """Declare a route that reads."""
        return self._declare("GET", path, inline=inline, aside=aside, media_type=media_type)

    def watch(
        self, path: str, *, raises: tuple[type[AkiDBError], ...] = ()
    ) -> Callable[[HandlerT], HandlerT]:
        """Declare a route that reads a change feed: its handler gives the reader."""
        return self._declare("GET", path, waits=True, raises=raises)

    def post(
        self,
        path: str,
        *,
        status: int = 200,
        changes: bool = True,
        slow: bool = False,
        raises: tuple[type[AkiDBError], ...] = (),
    ) -> Callable[[HandlerT], HandlerT]:
        """Declare a route that changes something, or (`changes=False`) asks more than fits a URL."""
        return self._declare("POST", path, status=status, takes_key=changes, slow=slow, raises=raises)

    def patch(self, path: str, *, slow: bool = False) -> Callable[[HandlerT], HandlerT]:
        """Declare a route that changes fields."""
        return self._declare("PATCH", path, takes_key=True, slow=slow)

    def delete(self, path: str) -> Callable[[HandlerT], HandlerT]:
        """Declare a route that deletes."""
        return self._declare("DELETE", path, status=204, takes_key=True)

    def _declare(
        self,
        method: str,
        path: str,
        *,
        status: int = 200,
        takes_key: bool = False,
        inline: bool = False,
        aside: bool = False,
        waits: bool = False,
        slow: bool = False,
        media_type: str = JSON,
        raises: tuple[type[AkiDBError], ...] = (),
    ) -> Callable[[HandlerT], HandlerT]:
        def declare(handler: HandlerT) -> HandlerT:
            hints = get_type_hints(handler)
            summary, _, description = (inspect.getdoc(handler) or "").partition("\n\n")
            body = hints.get("body", Nothing if method == "POST" and "source" not in hints else None)
            route = Route(
                method=method,
                path=path,
                tag=self.tag,
                name=handler.__name__.rstrip("_"),
                summary=summary.removesuffix("."),
                description=description,
                handler=handler,
                status=status,
                query=hints.get("query"),
                body=body,
                conditional="if_version" in hints,
                takes_key=takes_key,
                inline=inline,
                aside=aside,
                waits=waits,
                slow=slow,
                media_type=media_type,
                takes_stream="source" in hints,
                gives_stream="target" in hints,
                answer=bytes if "target" in hints else _answer_of(hints["return"], waits=waits),
                raises=self.raises + raises,
            )
            self.append(route)
            return handler

        return declare


def _answer_of(given: Any, *, waits: bool) -> Any:
    """What is sent for what a handler gives: of a reader, a page of its changes."""
    return ChangePage[get_args(given)[0]] if waits else given  # type: ignore[misc]
