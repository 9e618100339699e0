"""Arguments and options shared by several commands, and their parsers."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from akidb.domain.errors import InvalidArgument
from akidb.domain.fields import CollectionPath
from akidb.domain.names import MAX_INTEGER

TenantArgument = Annotated[str, typer.Argument(metavar="T", help="The tenant's slug or ID.")]
CollectionArgument = Annotated[
    str, typer.Argument(metavar="T/D/C", help="The tenant, the database, and the collection's name or ID.")
]
IfVersion = Annotated[int | None, typer.Option(help="Act only if this is the current version.")]
Limit = Annotated[int, typer.Option(help="Maximum number of results, 1-1000.")]
Yes = Annotated[bool, typer.Option("--yes", help="Skip the confirmation.")]
FilterOption = Annotated[
    str | None, typer.Option("--filter", metavar="JSON", help='For example \'{"year": {"$gte": 2020}}\'.')
]
Parts = Annotated[
    str | None,
    typer.Option("--include", metavar="PARTS", help="For example text,metadata,vector or metadata.year."),
]
Vectors = Annotated[bool, typer.Option("--vectors", help="Include the vectors.")]

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([KMGTP]i?)?B?", re.ASCII | re.IGNORECASE)
_PREFIXES = "KMGTP"


def parse_size(text: str, field: str) -> int:
    """Parse `32GiB`, `10GB`, `1.5 TiB` or a number of bytes."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise InvalidArgument(field, "must be a size such as 32GiB, 10GB or a number of bytes")
    number, prefix = match[1], (match[2] or "").upper()
    base = 1024 if prefix.endswith("I") else 1000
    factor = base ** (_PREFIXES.index(prefix[0]) + 1) if prefix else 1
    whole, _, fraction = number.partition(".")
    # Integer arithmetic: a float loses bytes from 8 PiB on.
    size = int(whole) * factor + (int(fraction) * factor // 10 ** len(fraction) if fraction else 0)
    if size > MAX_INTEGER:
        raise InvalidArgument(field, f"must be at most {MAX_INTEGER} bytes")
    return size


def collection_path(text: str) -> CollectionPath:
    """Parse `T/D/C`."""
    return CollectionPath(**parse_places(text, ("tenant", "database", "collection")))


def parse_places(text: str, names: Sequence[str]) -> dict[str, str]:
    """Parse a path such as `T/D` into its parts by name."""
    parts = text.split("/")
    if len(parts) != len(names) or not all(parts):
        raise InvalidArgument("path", f"must be {'/'.join(names)}, not {text!r}")
    return dict(zip(names, parts, strict=True))


@contextmanager
def naming_options(options: Mapping[str, str]) -> Iterator[None]:
    """Name the option in an error of a field, for fields whose option has another name."""
    try:
        yield
    except InvalidArgument as error:
        if error.field not in options:
            raise
        raise InvalidArgument(options[error.field], error.reason) from None


def parse_object(text: str | None, field: str) -> dict[str, Any] | None:
    """Parse a JSON object from an option; None stays None."""
    from akidb.operations.text import json_object

    return None if text is None else json_object(text, field)
