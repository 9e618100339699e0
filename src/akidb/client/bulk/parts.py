"""What is read of a file: batches of documents with their places, and the names of columns."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

from akidb.domain.columns import placed
from akidb.domain.documents import DocumentInput, DocumentLike
from akidb.domain.errors import InvalidArgument

BATCH_BYTES = 8 * 2**20
"""Of a batch in the file: as JSON it may be several times as long, and must fit in a request."""
BATCH_TEXTS = 256
"""Texts to embed at once: about a second."""
FIELDS = tuple(DocumentInput.__struct_fields__)


class Position(NamedTuple):
    """How far a file was read."""

    rows: int = 0
    """Documents."""
    lines: int = 0
    """Lines of JSON, empty ones included."""
    offset: int = 0
    """Bytes of JSON lines."""


class Part(NamedTuple):
    """Documents that follow each other."""

    documents: Sequence[DocumentLike]
    start: Position
    end: Position
    lines: Sequence[int] | None
    """The number of each line, from 1."""


class Columns(NamedTuple):
    """How documents are made of columns, or of the members of objects."""

    names: Mapping[str, str]
    """The column of each field of a document."""
    given: frozenset[str]
    """Fields whose column was named, and must be there."""
    metadata: tuple[str, ...] | None
    """Columns whose values become metadata; None for all others, if there is no column of metadata."""
    id_prefix: str | None
    """What ids begin with that are made of the row, for rows without one."""

    @property
    def are_usual(self) -> bool:
        """Return whether documents are as the API has them."""
        return not self.given and self.metadata is None


class Source(Protocol):
    """A file with documents."""

    name: str
    total: int | None
    """Its number of documents, if the file says so."""

    def parts(self, start: Position, batch_size: int, *, embeds: bool) -> Iterator[Part]:
        """Yield batches after a position; `embeds` is whether texts without a vector are embedded.

        The same arguments give the same batches. Raises InvalidArgument, which names the line or the row.
        """


def columns_of(
    columns: Mapping[str, str] | None, metadata: Sequence[str] | None, id_prefix: str | None
) -> Columns:
    """Check how documents are made. Raises InvalidArgument(`columns`, `metadata_columns`, `id_prefix`)."""
    given = {} if columns is None else columns
    if not isinstance(given, Mapping):
        raise InvalidArgument("columns", "must be a mapping of fields to the names of columns")
    for field, name in given.items():
        if field not in FIELDS:
            raise InvalidArgument("columns", f"has {field!r}, which is not one of {', '.join(FIELDS)}")
        if not isinstance(name, str):
            raise InvalidArgument(f"columns.{field}", "must be the name of a column")
    if isinstance(metadata, str) or (metadata is not None and not all(isinstance(n, str) for n in metadata)):
        raise InvalidArgument("metadata_columns", "must be a list of names of columns")
    if id_prefix is not None and not isinstance(id_prefix, str):
        raise InvalidArgument("id_prefix", "must be text")
    names = {field: given.get(field, field) for field in FIELDS}
    others = None if metadata is None else tuple(dict.fromkeys(metadata))
    return Columns(names, frozenset(given), others, id_prefix)


def id_of_row(prefix: str, row: int) -> str:
    """Return the id of a row, counted from 0, that has none."""
    return f"{prefix}{row}"


@contextmanager
def naming(source: str, part_start: int, lines: Sequence[int] | None) -> Iterator[None]:
    """Add the place in the file to an error about one of the documents of a part."""
    try:
        yield
    except InvalidArgument as error:
        raise in_file(error, source, part_start, lines) from None


def in_file(
    error: InvalidArgument, source: str, first: int = 0, lines: Sequence[int] | None = None
) -> InvalidArgument:
    """Return an error with its path in the whole file, and the name of the file and its row or line."""
    index = index_of(error.field)
    moved = placed(error, first)
    place = source
    if index is not None:
        word, number = ("row", first + index + 1) if lines is None else ("line", lines[index])
        place = f"{source}: {word} {number}"
        moved.fields[word] = number
    moved.message = moved.public = f"{place}: {moved.message}"
    moved.args = (moved.message,)
    return moved


def index_of(path: str) -> int | None:
    """Return the index of the document in the path of an error."""
    if not path.startswith("documents["):
        return None
    digits = path[len("documents[") :].partition("]")[0]
    return int(digits) if digits.isdigit() else None


def counted_as_embedded(document: Any) -> bool:
    """Return whether a document has a text and no vector."""
    if isinstance(document, DocumentInput):
        return document.vector is None and document.text is not None
    return document.get("vector") is None and document.get("text") is not None
