"""Imports documents from a JSON lines file: the whole file is validated before anything is written.

The file is read twice, so that it may be larger than memory; input that cannot be read twice, such as a
pipe, is copied to a temporary file.
"""

import codecs
import contextlib
import os
import signal
import stat
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

from akidb.cli.output import Advance, counted
from akidb.client.files import not_written, reading
from akidb.client.patience import patiently
from akidb.domain.documents import MAX_TRUNCATED_IDS, DocumentInput, DocumentLike, UpsertMode
from akidb.domain.entities import Collection
from akidb.domain.errors import AkiDBError, InvalidArgument, Unavailable
from akidb.domain.fields import CollectionPath
from akidb.domain.ids import IdGenerator
from akidb.domain.json import decode_strict
from akidb.operations.declare import Operations
from akidb.operations.documents import UpsertDocuments
from akidb.operations.text import below

EMPTY = "contains no documents; use --allow-empty to accept that"
MAX_LINE_BYTES = 64 * 2**20
SPOOL_PIECE_BYTES = 2**20
BATCH_DOCUMENTS = 2_000
BATCH_TEXTS = 256  # about a second of embedding: frequent enough for a progress bar
BATCH_BYTES = 16 * 2**20  # well below the body limit of a server

T = TypeVar("T")


class Written(NamedTuple):
    """What an import has written."""

    documents: int
    truncated: int
    """Documents whose text is longer than the embedding model accepts."""
    truncated_ids: list[str]
    """The first of them."""
    without_vector: int
    """Documents that are stored without a vector."""


class Line(NamedTuple):
    """A document of a file, and its position."""

    number: int
    """From 1."""
    position: int
    """The index of the document, from 0."""
    size_bytes: int
    document: DocumentInput


@contextlib.contextmanager
def opened(name: str, directory: Path | None = None) -> Iterator[IO[bytes]]:
    """Open a file, or standard input for `-`, seekable and positioned after any byte order mark.

    What can be read only once is copied to the system's temporary directory, or else to `directory`.
    """
    with contextlib.ExitStack() as stack:
        if name == "-":
            file: IO[bytes] = sys.stdin.buffer
        else:
            try:
                file = stack.enter_context(Path(name).open("rb"))
            except OSError as error:
                raise InvalidArgument("file", f"cannot read {name}: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            spool = stack.enter_context(_temporary_file(directory))
            _spool(file, spool)
            file = spool
        start = file.tell()
        if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            file.seek(start)
        yield file


def _temporary_file(directory: Path | None) -> IO[bytes]:
    try:
        return tempfile.TemporaryFile()
    except FileNotFoundError as error:
        if directory is None:
            raise Unavailable("there is no temporary directory that can be written: set TMPDIR") from error
        return tempfile.TemporaryFile(dir=directory)


def _spool(file: IO[bytes], spool: IO[bytes]) -> None:
    """Copy what can be read only once to a temporary file."""
    try:
        with reading(file) as source:
            while piece := source.read(SPOOL_PIECE_BYTES):
                spool.write(piece)
        spool.seek(0)
    except OSError as error:
        raise not_written("a temporary copy of the input", error) from error


def lines(file: IO[bytes], most: int | None = None) -> Iterator[Line]:
    """Yield the documents from the current position, at most `most`; empty lines are skipped.

    Raises InvalidArgument with the line number for anything but a document.
    """
    number = position = 0
    while position != most and (line := file.readline(MAX_LINE_BYTES + 1)):
        number += 1
        if not line.strip():
            continue
        with _named(number, position):
            if len(line) > MAX_LINE_BYTES:
                raise InvalidArgument("body", f"is longer than {MAX_LINE_BYTES} bytes")
            document = decode_strict(line, DocumentInput)
        yield Line(number, position, len(line), document)
        position += 1


def check(found: Iterator[Line], collection: Collection, mode: UpsertMode) -> int:
    """Validate every document and return their number.

    Raises InvalidArgument with the line number for the first document that the collection would reject.
    """
    from akidb.services.batches import check_document_changes, check_documents

    ids = IdGenerator(lambda: 0, lambda _bits: 0)  # for validation only: the service generates the stored IDs
    seen: dict[str, int] = {}
    count = 0
    for number, position, _, document in found:
        with _named(number, position):
            if mode is UpsertMode.UPDATE:
                check_document_changes([document], collection)
            else:
                check_documents([document], collection, ids)
            if document.id is not None and (first := seen.setdefault(document.id, number)) != number:
                raise InvalidArgument("id", f"is already used on line {first}")
        count += 1
    return count


def batches(found: Iterator[Line], *, embeds: bool) -> Iterator[list[DocumentInput]]:
    """Yield batches that are small enough for one request and quick to embed.

    `embeds` is whether the collection has an embedding model.
    """
    batch: list[DocumentInput] = []
    texts = size = 0
    for _, _, line_bytes, document in found:
        is_text = embeds and document.vector is None and document.text is not None
        full = (
            len(batch) == BATCH_DOCUMENTS or texts + is_text > BATCH_TEXTS or size + line_bytes > BATCH_BYTES
        )
        if batch and full:
            yield batch
            batch, texts, size = [], 0, 0
        batch.append(document)
        texts, size = texts + is_text, size + line_bytes
    if batch:
        yield batch


def write(
    operations: Operations,
    path: CollectionPath,
    parts: Iterable[Sequence[DocumentLike]],
    advance: Advance,
    mode: UpsertMode = UpsertMode.UPSERT,
) -> Written:
    """Upsert all parts.

    An error or interrupt gets a note with the number of documents already written.
    """
    written = truncated = without_vector = 0
    ids: list[str] = []
    try:
        with interrupted_between_parts() as interrupt_if_asked:
            for part in parts:
                request = UpsertDocuments(**path._asdict(), documents=part, mode=mode)
                result = patiently(partial(operations.perform, request))
                written += result.upserted
                truncated += result.truncated
                without_vector += result.without_vector
                ids += result.truncated_ids[: MAX_TRUNCATED_IDS - len(ids)]
                advance(len(part))
                interrupt_if_asked()
    except (AkiDBError, KeyboardInterrupt) as error:
        if written or isinstance(error, KeyboardInterrupt):
            error.add_note(f"{counted(written, 'document')} had been written")
        raise
    return Written(written, truncated, ids, without_vector)


@contextlib.contextmanager
def interrupted_between_parts() -> Iterator[Callable[[], None]]:
    """Defer Ctrl-C until the current part is written, so that the count is exact; a second one is immediate.

    Yields a function that raises the deferred KeyboardInterrupt.
    """
    asked = False

    def ask(_number: int, _frame: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    def interrupt_if_asked() -> None:
        if asked:
            raise KeyboardInterrupt

    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield interrupt_if_asked  # SIGINT is handled elsewhere
        return
    signal.signal(signal.SIGINT, ask)
    try:
        yield interrupt_if_asked
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def _named(number: int, position: int) -> Iterator[None]:
    """Add the line number to an error, and the index of the document to its path."""
    try:
        yield
    except InvalidArgument as error:
        inner = error.field.removeprefix("body").removeprefix("documents[0]")
        place = below(f"documents[{position}]", inner)
        placed = InvalidArgument(place, error.reason)
        placed.message = f"line {number}: {placed.message}"
        placed.fields["line"] = number
        raise placed from None
