"""Documents from a file of JSON lines: all of it is checked before any of it is written.

The file is read twice, so that one larger than memory can be imported; what cannot be read twice, such
as a pipe, is kept in a temporary file in between.
"""

import codecs
import contextlib
import os
import shutil
import signal
import stat
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

from akidb.cli.output import Advance
from akidb.domain.documents import DocumentInput, DocumentLike
from akidb.domain.entities import Collection
from akidb.domain.errors import AkiDBError, InvalidArgument, Overloaded, RateLimited
from akidb.domain.fields import CollectionPath
from akidb.domain.ids import IdGenerator
from akidb.domain.json import decode_strict
from akidb.operations.declare import Operations
from akidb.operations.documents import UpsertDocuments
from akidb.operations.text import below

MAX_LINE_BYTES = 64 * 2**20
BATCH_DOCUMENTS = 2_000
BATCH_TEXTS = 256  # a second or so of embedding: often enough for a progress bar
BATCH_BYTES = 16 * 2**20  # well below what a server takes in one body

PATIENCE_SECONDS = 60.0
MIN_PAUSE_SECONDS = 0.01

T = TypeVar("T")


class Line(NamedTuple):
    """A document of a file, and where it stands."""

    number: int
    """From 1."""
    position: int
    """The document's own, from 0."""
    size_bytes: int
    document: DocumentInput


@contextlib.contextmanager
def opened(name: str) -> Iterator[IO[bytes]]:
    """Open a file, or standard input for `-`, such that it can be read again from where it stands then."""
    with contextlib.ExitStack() as stack:
        if name == "-":
            file: IO[bytes] = sys.stdin.buffer
        else:
            try:
                file = stack.enter_context(Path(name).open("rb"))
            except OSError as error:
                raise InvalidArgument("file", f"cannot read {name}: {error.strerror}") from None
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            spool = stack.enter_context(tempfile.TemporaryFile())
            shutil.copyfileobj(file, spool)
            spool.seek(0)
            file = spool
        start = file.tell()
        if file.read(len(codecs.BOM_UTF8)) != codecs.BOM_UTF8:
            file.seek(start)
        yield file


def lines(file: IO[bytes], most: int | None = None) -> Iterator[Line]:
    """The documents from here on, up to so many; empty lines are passed over.

    Raises InvalidArgument, naming the line, for what is no document.
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


def check(found: Iterator[Line], collection: Collection) -> int:
    """Look at every document and give their number.

    Raises InvalidArgument for the first that the collection would refuse, naming the line.
    """
    from akidb.services.batches import check_documents

    ids = IdGenerator(lambda: 0, lambda _bits: 0)  # the service makes those that are kept
    seen: dict[str, int] = {}
    count = 0
    for number, position, _, document in found:
        with _named(number, position):
            check_documents([document], collection, ids)
            if document.id is not None and (first := seen.setdefault(document.id, number)) != number:
                raise InvalidArgument("id", f"is also that of line {first}")
        count += 1
    return count


def batches(found: Iterator[Line]) -> Iterator[list[DocumentInput]]:
    """Parts that are quick enough to embed and small enough for one request."""
    batch: list[DocumentInput] = []
    texts = size = 0
    for _, _, line_bytes, document in found:
        is_text = document.vector is None
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
) -> int:
    """Upsert all parts and give the number of documents.

    An error notes how many were written before it, and so does an interruption.
    """
    written = 0
    try:
        with _interrupted_between_parts() as interrupt_if_asked:
            for part in parts:
                request = UpsertDocuments(**path._asdict(), documents=part)
                patiently(partial(operations.perform, request))
                written += len(part)
                advance(len(part))
                interrupt_if_asked()
    except (AkiDBError, KeyboardInterrupt) as error:
        if written or isinstance(error, KeyboardInterrupt):
            error.add_note(f"{written} documents were written before")
        raise
    return written


@contextlib.contextmanager
def _interrupted_between_parts() -> Iterator[Callable[[], None]]:
    """Let Ctrl-C wait for the part under way, so that it is known what was written; a second does not wait.

    Gives what raises the KeyboardInterrupt that was asked for.
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
        yield interrupt_if_asked  # someone else decides what Ctrl-C does
        return
    signal.signal(signal.SIGINT, ask)
    try:
        yield interrupt_if_asked
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def patiently(call: Callable[[], T]) -> T:
    """Do it again after the time that a refusal for want of capacity names; it had no effect.

    Raises that refusal when it is still given a minute later, or will be for ever.
    """
    began = time.monotonic()
    while True:
        try:
            return call()
        except (RateLimited, Overloaded) as error:
            if error.fields.get("limit") == 0 or time.monotonic() - began > PATIENCE_SECONDS:
                raise
            time.sleep(max(error.retry_after_seconds, MIN_PAUSE_SECONDS))


@contextlib.contextmanager
def _named(number: int, position: int) -> Iterator[None]:
    """Say of an error which line it is on, and put the document's place before its path."""
    try:
        yield
    except InvalidArgument as error:
        inner = error.field.removeprefix("body").removeprefix("documents[0]")
        place = below(f"documents[{position}]", inner)
        placed = InvalidArgument(place, error.reason)
        placed.message = f"line {number}: {placed.message}"
        placed.fields["line"] = number
        raise placed from None
