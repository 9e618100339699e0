"""The table of operations, with one row per operation.

    @operation("collection.get", "GET", ONE, needs=Access.METADATA_READ)
    class GetCollection(InCollection[Collection], kw_only=True, frozen=True):
        \"\"\"Get a collection by its ID or name.\"\"\"

A row is a frozen request: its fields are the parameters, `Request[Collection]` names the response type.
Routes, the OpenAPI description, the HTTP client, everyday commands, the tables in the docs, the dispatch of
the services, and the tests of all operations are derived from the rows.
"""

import re
from collections.abc import Callable, Mapping, Sized
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache, cached_property, partial
from operator import attrgetter
from typing import Annotated, Any, Generic, Literal, Protocol, TypeVar, get_args

import msgspec
from msgspec import UNSET, UnsetType

from akidb.domain.errors import AkiDBError, InvalidArgument
from akidb.domain.fields import CollectionRef, DatabaseRef, Field, TenantRef, UserRef, rules_of
from akidb.domain.lifecycle import Access

A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)
RequestT = TypeVar("RequestT", bound="type[Request[Any]]")

MANY = 100
"""More items than this at once are heavy work."""

_PLACE = re.compile(r"\{(\w+)\}")
_IF_VERSION = "if_version"


class Work(StrEnum):
    """What an operation does for long; a server limits how many of each kind run, in all and per tenant."""

    QUICK = "quick"
    """Nothing: it reads a few rows."""
    SLOW = "slow"
    """It waits: for the writers before it, an index, a model, a download."""
    HEAVY = "heavy"
    """It goes through many rows, values or files."""
    PASSWORD = "password"  # noqa: S105
    """It hashes a password."""


class Request(msgspec.Struct, Generic[A_co], kw_only=True, frozen=True):
    """A request; `A_co` is the type of its response."""

    def __repr__(self) -> str:
        """Show all fields except a password, since requests are logged."""
        shown = (name for name in self.__struct_fields__ if name != "password")
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    def check_together(self) -> None:
        """Raise InvalidArgument if fields do not go together, each of which is valid."""


class InTenant(Request[A_co], Generic[A_co], kw_only=True, frozen=True):
    """A request on a tenant, or something in it."""

    tenant: TenantRef


class InDatabase(InTenant[A_co], Generic[A_co], kw_only=True, frozen=True):
    """A request on a database, or something in it."""

    database: DatabaseRef


class InCollection(InDatabase[A_co], Generic[A_co], kw_only=True, frozen=True):
    """A request on a collection, or something in it."""

    collection: CollectionRef


class OfUser(InTenant[A_co], Generic[A_co], kw_only=True, frozen=True):
    """A request on a user of a tenant."""

    user: UserRef


class Operations(Protocol):
    """Performs requests: the services of this process, or a client of a server over HTTP."""

    def perform(self, request: Request[A], **ends: Any) -> A:
        """Perform a request and return its response.

        `ends` are `source` (a binary body), `sink` (for a binary response) and `progress`, where an operation
        has them. Raises InvalidArgument, NotFound, InvalidState, Unavailable, and the errors in `raises` of
        the operation's row.
        """

    def close(self) -> None:
        """Release files and connections. `perform` must not be called afterwards."""


@dataclass(kw_only=True, eq=False, repr=False)
class Operation:
    """A row of the table. Values derived from its request are computed on first use."""

    request: type[Request[Any]]
    name: str
    """As in `collection.create`; used in metrics, spans, audit, OpenAPI, and to scope idempotency keys."""
    method: str
    path: str
    body_path: str = ""
    """Where a POST takes the fields of a GET as a body, since they may not fit in a URL."""
    needs: Access | None = None
    """The access that the states on the path must permit, or None. `get`, `delete`, `restore` and `purge`
    check only the parents: the entity itself is readable in every state, and its moves have a table."""
    status: int = 200
    changes: bool
    """Whether it modifies data, and therefore accepts an Idempotency-Key."""
    audited: bool
    """Whether it leaves an audit entry of this name: what changes metadata, or gives away a whole tenant."""
    grows: bool
    """Whether it stores more: it is refused when only the reserve of the disk is left."""
    work: Work
    """The kind of its work: by default SLOW for changes, which wait for other writers, QUICK for reads."""
    more_with: Mapping[str, tuple[int, Work]] = field(default_factory=dict)
    """Fields that make it another kind of work: the largest number, or number of items, that does not."""
    waits: bool = False
    """Whether its handler returns a reader that may wait for a change."""
    local: bool = False
    """Whether it works on local files and never goes through a server."""
    takes: Literal["json", "bytes"] = "json"
    gives: Literal["json", "bytes"] = "json"
    """`bytes` are streamed from a `source` or to a `sink`, without a size limit."""
    arrow: str | None = None
    """The field with documents that may be the body as an Arrow stream; the others are then in the query."""
    member: str | None = None
    """The member of a JSON object that wraps a response that is not an object."""
    one_of: tuple[str, ...] | None = None
    """Fields, exactly one of which must be given."""
    one_of_in: tuple[str, str] | None = None
    """A field, and its value with which that holds; None if it always does."""
    counted: tuple[str, ...] = ()
    """Fields whose items count one by one towards the tenant's rate limit."""
    raises: tuple[type[AkiDBError], ...] = ()
    """Errors that do not follow from the other columns."""

    def __repr__(self) -> str:
        return f"<operation {self.name}>"

    @cached_property
    def places(self) -> tuple[str, ...]:
        """The names in braces in the path."""
        return tuple(_PLACE.findall(self.path))

    @property
    def feature(self) -> str:
        """The part of the name before the dot, such as `collection`."""
        return self.name.partition(".")[0]

    @property
    def verb(self) -> str:
        """The part of the name after the dot, such as `create`."""
        return self.name.partition(".")[2]

    @cached_property
    def summary(self) -> str:
        """The first line of its description."""
        return (self.request.__doc__ or "").partition("\n\n")[0]

    @cached_property
    def description(self) -> str:
        """The description after the first line."""
        return " ".join((self.request.__doc__ or "").partition("\n\n")[2].split())

    @cached_property
    def declared(self) -> tuple[msgspec.structs.FieldInfo, ...]:
        """Each field with its annotation and default."""
        return msgspec.structs.fields(self.request)

    @cached_property
    def hints(self) -> Mapping[str, Any]:
        """The annotation of each field."""
        return {field.name: field.type for field in self.declared}

    @cached_property
    def defaults(self) -> Mapping[str, Any]:
        """The default of each field, if it has one."""
        return {field.name: field.default for field in self.declared}

    @cached_property
    def answer(self) -> Any:
        """The type of the response; `type(None)` if there is none."""
        (answer,) = get_args(self.request.__orig_bases__[0])  # type: ignore[attr-defined]
        return type(None) if answer is None else answer

    @cached_property
    def sent(self) -> Any:
        """The type of the response in JSON."""
        return self.answer if self.member is None else _object_of(self.member, self.answer)

    @cached_property
    def fields(self) -> Mapping[str, Field]:
        """The rules of each field."""
        return {name: rules for name, hint in self.hints.items() if (rules := rules_of(hint)) is not None}

    @cached_property
    def nullable(self) -> frozenset[str]:
        """The fields whose value may be None; for others that have a default, None stands for the default."""
        return frozenset(name for name, hint in self.hints.items() if type(None) in get_args(hint))

    @property
    def is_conditional(self) -> bool:
        """Whether it accepts an expected version (If-Match)."""
        return _IF_VERSION in self.request.__struct_fields__

    @property
    def in_body(self) -> bool:
        """Whether its fields are sent as a body, not in the query."""
        return self.method in {"POST", "PATCH"} and self.takes == "json"

    @cached_property
    def said(self) -> tuple[str, ...]:
        """The fields of the query or the body: neither in the path nor in a header."""
        elsewhere = {*self.places, _IF_VERSION}
        return tuple(name for name in self.request.__struct_fields__ if name not in elsewhere)

    @cached_property
    def shape(self) -> type[msgspec.Struct]:
        """The type that decodes a query or body: refuses unknown fields, leaves values to their checks."""
        return self._struct(lambda _, rules: rules.wire if rules is not None and rules.is_decoded else Any)

    @cached_property
    def schema(self) -> type[msgspec.Struct]:
        """Like `shape`, with each field's type and bounds, for the OpenAPI description."""
        return self._struct(_described)

    def _struct(self, type_of: Callable[[Any, Field | None], Any]) -> type[msgspec.Struct]:
        fields: list[Any] = []
        for each in self.declared:
            if each.name not in self.said:
                continue
            kind = type_of(self.hints[each.name], self.fields.get(each.name))
            may_be_none = each.name in self.nullable
            if each.required:
                fields.append((each.name, kind | None if may_be_none else kind))
            elif isinstance(each.default, frozenset):
                made_default = msgspec.field(default_factory=partial(sorted, each.default))
                fields.append((each.name, kind | None, made_default))
            else:
                may_be_none = may_be_none or each.default is not UNSET
                kind = kind | None if may_be_none and kind is not Any else kind
                kind = kind | UnsetType if each.default is UNSET and kind is not Any else kind
                fields.append((each.name, kind, each.default))
        made = msgspec.defstruct(self.request.__name__, fields, kw_only=True, forbid_unknown_fields=True)
        made.__doc__ = self.request.__doc__
        return made

    def work_of(self, request: Request[Any]) -> Work:
        """Return the kind of work of a request, whose fields need not be checked yet."""
        for name, (most, work) in self.more_with.items():
            if _amount(getattr(request, name)) > most:
                return work
        return self.work

    def tokens_of(self, request: Request[Any]) -> int:
        """Return how many operations a checked request counts as in the tenant's rate limit."""
        if not self.counted:
            return 1
        given = (getattr(request, name) for name in self.counted)
        return max(1, sum(len(items) for items in given if items is not None))

    def checked(self, request: Request[A]) -> Request[A]:
        """Check a request and return it with each value in the form that handlers use.

        None for a field with a default is the default, as if the field were absent.
        Raises InvalidArgument for the first field with an invalid value.
        """
        changed: dict[str, Any] | None = None
        for (name, check, if_none, kind), value in zip(self._checks, self._values(request), strict=True):
            # A default is as its check returns it.
            if value is if_none or type(value) is kind or value is UNSET:
                continue
            found = if_none if value is None and if_none is not UNSET else check(value, name)
            if found is not value:
                changed = changed or {}
                changed[name] = found
        if changed is not None:
            request = msgspec.structs.replace(request, **changed)
        if self.one_of is not None and (
            self.one_of_in is None or getattr(request, self.one_of_in[0]) == self.one_of_in[1]
        ):
            self._check_one_of(request, self.one_of)
        request.check_together()
        return request

    def given(self, request: Request[Any]) -> dict[str, Any]:
        """Return the query or body fields that a request sets, filters as JSON."""
        found = ((name, getattr(request, name)) for name in self.said)
        return {name: _as_json(value) for name, value in found if value is not UNSET}

    @cached_property
    def _checks(self) -> tuple[tuple[str, Callable[[Any, str], Any], Any, type | None], ...]:
        """The check of each field, what None stands for, UNSET if it is refused, and what needs no check."""
        found = ((name, rules, self.defaults[name]) for name, rules in self.fields.items())
        return tuple(
            (
                name,
                rules.check,
                None if name in self.nullable else UNSET if default is msgspec.NODEFAULT else default,
                rules.kind,
            )
            for name, rules, default in found
        )

    @cached_property
    def _values(self) -> Callable[[Any], tuple[Any, ...]]:
        """A function that returns the values of the fields with rules."""
        return _getter(tuple(self.fields))

    @staticmethod
    def _check_one_of(request: Request[Any], names: tuple[str, ...]) -> None:
        given = 0
        for name in names:
            given += getattr(request, name) is not None
        if given != 1:
            *others, last = names
            raise InvalidArgument(names[0], f"give exactly one of {', '.join(others)} and {last}")


def _getter(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """Return a function that returns these attributes of an object."""
    if len(names) > 1:
        return attrgetter(*names)
    return lambda thing: tuple(getattr(thing, name) for name in names)


def _amount(value: object) -> float:
    """Return a number itself, the number of items of a list or a filter, and 1 for any other given value."""
    if value is None or value is UNSET:
        return 0
    if isinstance(value, Sized) and not isinstance(value, str):
        return len(value)
    return value if isinstance(value, int | float) else 1


def _as_json(value: Any) -> Any:
    """Return the value, a filter as JSON: msgspec would encode the fields of the dataclass."""
    return msgspec.Raw(value.canonical) if isinstance(value, _filter_type()) else value


@cache
def _filter_type() -> Any:
    from akidb.domain.filters import Filter

    return Filter


@cache
def _object_of(member: str, answer: Any) -> type[msgspec.Struct]:
    return msgspec.defstruct(member.title(), [(member, answer)])


def _described(hint: Any, rules: Field | None) -> Any:
    """Return a field's type in JSON, with its description and bounds."""
    if rules is None:
        return hint
    (meta, inner) = _annotation_of(hint)
    return Annotated[inner if rules.wire is None else rules.wire, meta]


def _annotation_of(hint: Any) -> tuple[Any, Any]:
    """Return the metadata of an annotation, and the annotated type."""
    metadata = getattr(hint, "__metadata__", None)
    if metadata is not None:
        return metadata[0], hint.__origin__
    return next(_annotation_of(member) for member in get_args(hint) if rules_of(member) is not None)


OPERATIONS: dict[type[Request[Any]], Operation] = {}
"""All operations, by request type."""


def operation(name: str, method: str = "", path: str = "", **columns: Any) -> Callable[[RequestT], RequestT]:
    """Add a request to the table; `columns` are fields of `Operation`."""
    columns.setdefault("changes", method != "GET")
    columns.setdefault("audited", columns["changes"])
    columns.setdefault("grows", columns["changes"])
    columns.setdefault("work", Work.SLOW if columns["changes"] else Work.QUICK)

    def declare(request: RequestT) -> RequestT:
        OPERATIONS[request] = Operation(request=request, name=name, method=method, path=path, **columns)
        return request

    return declare
