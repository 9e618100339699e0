"""Loads a file into a collection, in batches that are each one upsert."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from msgspec.structs import replace

from akidb.client.bulk.arrow_files import ArrowFile
from akidb.client.bulk.formats import FileFormat, FormatLike, format_of
from akidb.client.bulk.jsonl import JsonLines
from akidb.client.bulk.parts import Columns, Part, Position, Source, columns_of, in_file
from akidb.client.bulk.resuming import Progress, state_path
from akidb.client.files import FileSource
from akidb.client.patience import patiently
from akidb.client.results import LoadResult
from akidb.client.uploads import own_key
from akidb.domain.documents import (
    MAX_BATCH_DOCUMENTS,
    MAX_TRUNCATED_IDS,
    DocumentLike,
    UpsertMode,
    UpsertResult,
)
from akidb.domain.entities import Collection
from akidb.domain.errors import AkiDBError, InvalidArgument
from akidb.domain.names import check_integer
from akidb.observe import context

Upsert = Callable[[Sequence[DocumentLike], UpsertMode], UpsertResult]
Report = Callable[[LoadResult], object]


_NOTHING: Mapping[str, Any] = {
    "documents": 0,
    "batches": 0,
    "upserted": 0,
    "truncated": 0,
    "truncated_ids": [],
    "without_vector": 0,
}


class Wanted(NamedTuple):
    """What to load, and how."""

    format: FileFormat
    columns: Columns
    mode: UpsertMode
    batch_size: int


@contextmanager
def opened(file: FileSource, how: Wanted) -> Iterator[Source]:
    """Open a path or a binary file. Raises InvalidArgument(`file`)."""
    name = (
        os.fsdecode(file) if isinstance(file, str | os.PathLike) else str(getattr(file, "name", "the file"))
    )
    if how.format != FileFormat.JSONL:
        given = name if isinstance(file, str | os.PathLike) else file
        source = ArrowFile(given, name, how.format, how.columns)
        try:
            yield source
        finally:
            source.close()
        return
    with _lines_of(file, name) as lines:
        yield JsonLines(lines, name, how.columns)


def _lines_of(file: FileSource, name: str) -> AbstractContextManager[Any]:
    if not isinstance(file, str | os.PathLike):
        if not hasattr(file, "readline"):
            raise InvalidArgument("file", "must be a path, or a binary file with readline")
        return nullcontext(file)
    try:
        return Path(file).open("rb")
    except OSError as error:
        raise InvalidArgument("file", f"cannot read {name}: {error.strerror}") from None


def load(
    file: FileSource,
    collection: Collection,
    upsert: Upsert,
    *,
    format: FormatLike | str | None,
    columns: Mapping[str, str] | None,
    metadata_columns: Sequence[str] | None,
    id_prefix: str | None,
    mode: UpsertMode,
    batch_size: int,
    resume: bool | str | os.PathLike[str],
    progress: Report | None,
) -> LoadResult:
    """Load all documents; an error has a note with the number of those that had been written."""
    check_integer(batch_size, "batch_size", 1, MAX_BATCH_DOCUMENTS)
    chosen = columns_of(columns, metadata_columns, id_prefix)
    how = Wanted(format_of(file, format), chosen, mode, batch_size)
    state = _state(file, how, collection, resume)
    with opened(file, how) as source:
        result = _load(source, how, collection, upsert, state, progress)
    if state is not None:
        state.finish()
    return result


def _state(
    file: FileSource, how: Wanted, collection: Collection, resume: bool | str | os.PathLike[str]
) -> Progress | None:
    if resume is False:
        return None
    if not isinstance(file, str | os.PathLike):
        raise InvalidArgument("resume", "needs the path of a file")
    path = Path(file)
    if not path.is_file():
        raise InvalidArgument("file", f"cannot read {path}: it is not a regular file")
    options = {
        "collection": str(collection.collection_id),
        "format": how.format.value,
        "mode": how.mode.value,
        "batch_size": how.batch_size,
        "columns": dict(how.columns.names),
        "metadata_columns": None if how.columns.metadata is None else list(how.columns.metadata),
        "id_prefix": how.columns.id_prefix,
    }
    may_grow = how.format == FileFormat.JSONL
    return Progress(path, state_path(path, resume), options, may_grow=may_grow)


def _load(
    source: Source,
    how: Wanted,
    collection: Collection,
    upsert: Upsert,
    state: Progress | None,
    progress: Report | None,
) -> LoadResult:
    start = Position() if state is None else state.position
    before: dict[str, Any] = dict(_NOTHING) if state is None or not state.done else state.done
    done = LoadResult(**before, resumed_after=start.rows, total=source.total)
    request = context.current()
    embeds = collection.embedding_model is not None
    try:
        for part in source.parts(start, how.batch_size, embeds=embeds):
            if state is not None:
                _require_ids(part, source.name)
            with _key(request, state, how.mode, part, done.batches):
                try:
                    written = patiently(partial(upsert, part.documents, how.mode))
                except InvalidArgument as error:
                    raise in_file(error, source.name, part.start.rows, part.lines) from None
            done = _added(done, part, written)
            if state is not None:
                state.acknowledge(part.end, done)
            if progress is not None:
                progress(done)
    except BaseException as error:
        if isinstance(error, AkiDBError):
            error.fields |= {"written": done.documents, "batch": done.batches}
        if done.documents:
            error.add_note(f"the first {done.documents} documents had been written")
        raise
    return done


def _added(done: LoadResult, part: Part, written: UpsertResult) -> LoadResult:
    return replace(
        done,
        documents=done.documents + len(part.documents),
        batches=done.batches + 1,
        upserted=done.upserted + written.upserted,
        truncated=done.truncated + written.truncated,
        truncated_ids=[*done.truncated_ids, *written.truncated_ids][:MAX_TRUNCATED_IDS],
        without_vector=done.without_vector + written.without_vector,
    )


def _require_ids(part: Part, name: str) -> None:
    """Raise InvalidArgument for a document without an id: written again, it would be another document."""
    for place, document in enumerate(part.documents):
        id = document.get("id") if isinstance(document, Mapping) else document.id
        if id is None:
            error = InvalidArgument(f"documents[{place}].id", "is needed to resume: give id_prefix")
            raise in_file(error, name, part.start.rows, part.lines)


@contextmanager
def _key(
    request: context.RequestContext, state: Progress | None, mode: UpsertMode, part: Part, batch: int
) -> Iterator[None]:
    """Give a batch a key of its own, if the load has one, or if it must not be written twice."""
    if request.idempotency_key is None and state is not None and mode is UpsertMode.INSERT:
        with context.bound(replace(request, idempotency_key=state.key(part.start.rows))):
            yield
        return
    with own_key(request, batch):
        yield
