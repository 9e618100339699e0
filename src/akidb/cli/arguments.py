"""Arguments and options that several commands share, and the forms in which they are written."""

import re
from typing import Annotated, Any, TypeVar

import msgspec
import typer

from akidb.domain.errors import InvalidArgument
from akidb.domain.names import MAX_INTEGER
from akidb.ports.operations import CollectionPath

TenantArgument = Annotated[str, typer.Argument(metavar="T", help="The tenant's slug or ID.")]
DatabaseArgument = Annotated[
    str, typer.Argument(metavar="T/D", help="The tenant, and the database's name or ID.")
]
CollectionArgument = Annotated[
    str, typer.Argument(metavar="T/D/C", help="The tenant, the database, and the collection's name or ID.")
]
IfVersion = Annotated[int | None, typer.Option(help="Do it only if this is the current version.")]
Limit = Annotated[int, typer.Option(help="The most to show, 1-1000.")]
Cursor = Annotated[str | None, typer.Option(help="Go on where an earlier list ended.")]
Deleted = Annotated[bool, typer.Option("--deleted", help="Show the deleted ones alone.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
FilterOption = Annotated[
    str | None, typer.Option("--filter", metavar="JSON", help='Such as \'{"year": {"$gte": 2020}}\'.')
]
Vectors = Annotated[bool, typer.Option("--vectors", help="With the vectors.")]
Quota = Annotated[str | None, typer.Option(metavar="SIZE", help="Such as 32GiB, 10GB, or bytes.")]

V = TypeVar("V")

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([KMGTP]i?)?B?", re.ASCII | re.IGNORECASE)
_PREFIXES = "KMGTP"


def parse_size(text: str | None, field: str) -> int | None:
    """Read `32GiB`, `10GB`, `1.5 TiB` or a number of bytes; None stays None."""
    if text is None:
        return None
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InvalidArgument(field, "must be a size such as 32GiB, 10GB or a number of bytes")
    number, prefix = match[1], (match[2] or "").upper()
    base = 1024 if prefix.endswith("I") else 1000
    factor = base ** (_PREFIXES.index(prefix[0]) + 1) if prefix else 1
    whole, _, fraction = number.partition(".")
    # Whole numbers all the way: a float loses bytes from 8 PiB on.
    size = int(whole) * factor + (int(fraction) * factor // 10 ** len(fraction) if fraction else 0)
    if size > MAX_INTEGER:
        raise InvalidArgument(field, f"must be at most {MAX_INTEGER} bytes")
    return size


def database_path(text: str) -> tuple[str, str]:
    """Read `T/D`."""
    tenant, database = _parts(text, ("tenant", "database"))
    return tenant, database


def collection_path(text: str) -> CollectionPath:
    """Read `T/D/C`."""
    return CollectionPath(*_parts(text, ("tenant", "database", "collection")))


def _parts(text: str, names: tuple[str, ...]) -> list[str]:
    parts = text.split("/")
    if len(parts) != len(names) or not all(parts):
        raise InvalidArgument("path", f"must be {'/'.join(names)}, not {text!r}")
    return parts


def parse_object(text: str | None, field: str) -> dict[str, Any] | None:
    """Read a JSON object that was given as an option; None stays None."""
    from akidb.domain.json import check_object, decode_strict

    if text is None:
        return None
    try:
        value = decode_strict(text.encode(errors="surrogatepass"), dict[str, Any])
    except InvalidArgument as error:
        path = error.field.removeprefix("body") or ""
        raise InvalidArgument(join_path(field, path), error.reason) from None
    return check_object(value, field)


def join_path(outer: str, inner: str) -> str:
    """The path of a spot within a field."""
    return f"{outer}{'' if not inner or inner[0] in '.[' else '.'}{inner}"


def require_changes(changes: msgspec.Struct) -> None:
    """Refuse an update that names nothing to change."""
    if all(value is msgspec.UNSET for value in msgspec.structs.asdict(changes).values()):
        raise InvalidArgument("arguments", "name at least one thing to change")


def given(value: V | None) -> V | msgspec.UnsetType:
    """What an option says of a change; one that is not given says nothing."""
    return msgspec.UNSET if value is None else value
