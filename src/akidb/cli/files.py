"""Imports and exports of documents in files of any format: `akidb document import` and `export`.

Plain JSON lines are imported by `importing`. The whole file is validated here too before anything is written.
"""

import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from akidb.cli import importing
from akidb.cli.backup import STANDARD, written
from akidb.client.bulk.formats import FileFormat, format_of
from akidb.client.bulk.parts import FIELDS, Position, in_file
from akidb.client.files import FileSource
from akidb.domain.documents import UpsertMode
from akidb.domain.entities import Collection
from akidb.domain.errors import AkiDBError, InvalidArgument
from akidb.domain.fields import CollectionPath
from akidb.domain.ids import IdGenerator
from akidb.operations.documents import UpsertDocuments

if TYPE_CHECKING:
    from akidb.cli.session import Session
    from akidb.client.bulk.parts import Source
    from akidb.client.results import LoadResult

CHECKED_ROWS = 1_000


class Options(NamedTuple):
    """How a file is read."""

    format: FileFormat
    columns: Mapping[str, str] | None
    metadata_columns: Sequence[str] | None
    id_prefix: str | None
    resume: bool | Path

    @property
    def are_plain(self) -> bool:
        """Return whether it is a file of JSON lines without options."""
        others = (self.columns, self.metadata_columns, self.id_prefix)
        return self.format == FileFormat.JSONL and not self.resume and others == (None, None, None)


def options_of(
    file: str,
    format: FileFormat | None,
    columns: Sequence[str] | None,
    metadata_columns: Sequence[str] | None,
    id_prefix: str | None,
    resume: bool,
    state: Path | None,
) -> Options:
    """Parse the options of the command. A file without a known suffix has JSON lines."""
    named: dict[str, str] = {}
    for each in columns or ():
        field, equals, name = each.partition("=")
        if not equals or field not in FIELDS:
            raise InvalidArgument("column", f"must be FIELD=NAME, with a field of {', '.join(FIELDS)}")
        named[field] = name
    try:
        chosen = format_of(file, format)
    except InvalidArgument:
        chosen = FileFormat.JSONL
    return Options(chosen, named or None, metadata_columns or None, id_prefix, state or resume)


def load(
    session: "Session",
    target: CollectionPath,
    collection: Collection,
    file: str,
    how: Options,
    mode: UpsertMode,
    *,
    allow_empty: bool,
) -> "tuple[LoadResult, float]":
    """Check a file and load it; return the result and the seconds that loading took."""
    from akidb.client.bulk.loading import load

    if file == STANDARD and how.resume:
        raise InvalidArgument("resume", "needs the path of a file")
    with _readable(session, file) as source:
        count = _check(source, how, collection, mode)
        if not count and not allow_empty:
            raise InvalidArgument("file", importing.EMPTY)
        began = time.perf_counter()
        with (
            session.out.progress("importing", count, "documents") as advance,
            importing.interrupted_between_parts() as interrupt_if_asked,
        ):
            shown = 0

            def progress(done: "LoadResult") -> None:
                nonlocal shown
                advance(done.documents - shown)
                shown = done.documents
                interrupt_if_asked()

            try:
                result = load(
                    source,
                    collection,
                    lambda documents, mode: session.operations.perform(
                        UpsertDocuments(**target._asdict(), documents=documents, mode=mode)
                    ),
                    format=how.format,
                    columns=how.columns,
                    metadata_columns=how.metadata_columns,
                    id_prefix=how.id_prefix,
                    mode=mode,
                    batch_size=CHECKED_ROWS,
                    resume=how.resume,
                    progress=progress,
                )
            except (AkiDBError, KeyboardInterrupt) as error:
                if how.resume and shown:
                    error.add_note("the same command continues there")
                raise
    return result, time.perf_counter() - began


@contextmanager
def _readable(session: "Session", file: str) -> Iterator[FileSource]:
    """Yield the path, or standard input as a file that can be read twice."""
    if file != STANDARD:
        yield file
        return
    directory = None if isinstance(session.place, str) else session.place
    with importing.opened(file, directory) as spool:
        yield _Kept(spool)


class _Kept:
    """A file that is at its beginning when it is opened, and stays open when it is closed."""

    name = "standard input"
    closed = False

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def close(self) -> None:
        self._file.seek(0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def _check(source: FileSource, how: Options, collection: Collection, mode: UpsertMode) -> int:
    """Check all rows; return their number. Raises InvalidArgument for the first that would be refused."""
    from akidb.client.bulk.loading import Wanted, opened
    from akidb.client.bulk.parts import columns_of
    from akidb.services.batches import check_document_changes, check_documents

    columns = columns_of(how.columns, how.metadata_columns, how.id_prefix)
    ids = IdGenerator(lambda: 0, lambda _bits: 0)  # for validation only
    seen = array("q")
    count = 0

    def check(rows: "Source") -> Iterator[tuple[Position, Sequence[str]]]:
        nonlocal count
        for part in rows.parts(Position(), CHECKED_ROWS, embeds=False):
            try:
                if mode is UpsertMode.UPDATE:
                    checked: Sequence[str] = check_document_changes(part.documents, collection).ids
                else:
                    found = check_documents(part.documents, collection, ids)
                    made = frozenset(found.made_at)
                    checked = ["" if place in made else id for place, id in enumerate(found.ids)]
            except InvalidArgument as error:
                raise in_file(error, rows.name, part.start.rows, part.lines) from None
            yield part.start, checked

    wanted = Wanted(how.format, columns, mode, CHECKED_ROWS)
    with opened(source, wanted) as rows:
        for _, names in check(rows):
            count += len(names)
            seen.extend(hash(id) for id in names if id)
    _rewind(source)
    if (repeated := _repeated(seen)) is not None:
        with opened(source, wanted) as rows:
            _refuse_repeated(rows.name, check(rows), repeated)
        _rewind(source)
    return count


def _rewind(source: FileSource) -> None:
    if isinstance(source, _Kept):
        source.close()


def _repeated(hashes: "array[int]") -> frozenset[int] | None:
    """Return the values that occur twice, None if there are none: 8 bytes for each row, not its id."""
    import numpy as np

    values = np.sort(np.frombuffer(hashes, np.int64)) if hashes else np.empty(0, np.int64)
    twice = values[1:][values[1:] == values[:-1]]
    return frozenset(twice.tolist()) or None


def _refuse_repeated(
    name: str, checked: Iterator[tuple[Position, Sequence[str]]], repeated: frozenset[int]
) -> None:
    first: dict[str, int] = {}
    for start, ids in checked:
        for place, id in enumerate(ids):
            if not id or hash(id) not in repeated:
                continue
            row = start.rows + place
            if (before := first.setdefault(id, row)) != row:
                error = InvalidArgument(f"documents[{place}].id", f"is already used in row {before + 1}")
                raise in_file(error, name, start.rows)


def export(
    session: "Session",
    target: CollectionPath,
    collection: Collection,
    file: str,
    format: FileFormat,
    *,
    filter: Mapping[str, Any] | None,
    include: frozenset[str],
    force: bool,
) -> None:
    """Write documents to a file or to standard output."""
    from akidb.client.bulk import exporting

    with written(session, file, "exported", force=force) as sink:
        writer = exporting.writer_of(format, sink, include, collection.dimension)
        exporting.export(session.operations.perform, target._asdict(), filter, include, writer, None)
