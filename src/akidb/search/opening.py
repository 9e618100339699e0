"""Opens the segments of a collection, and finds by the versions of its documents what of them is current."""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from akidb.domain.documents import Include
from akidb.observe.logs import logger
from akidb.ports.documents import DocumentReader
from akidb.search.parts import Part
from akidb.search.scoring import prepare_rows
from akidb.search.segments.builder import segments_in
from akidb.search.segments.files import SegmentDamaged
from akidb.search.segments.header import Expected, read_header
from akidb.search.segments.segment import Segment

_log = logger("akidb.search")

COMPARED_ROWS: Final = 16
"""Rows of a segment that are compared with the store when it is opened."""
Sequences = NDArray[np.int64]


class Opened(NamedTuple):
    """The parts that are of use."""

    parts: list[Part]
    """In the order of the sequences that they cover."""
    since: int
    """Documents with later sequences have to be read, except for those that the parts cover."""


class Sealed(NamedTuple):
    """What segments have, as their headers say."""

    rows: int
    memory_bytes: int


def sealed_in(directory: Path) -> Sealed:
    """Return what the segments in a directory would take in memory."""
    rows = memory_bytes = 0
    for path in segments_in(directory):
        with suppress(SegmentDamaged, OSError):
            header = read_header(path)
            rows += header.count
            memory_bytes += sum(file.size for name, file in header.files.items() if name != "vectors")
    return Sealed(rows, memory_bytes)


def open_segments(directory: Path, expected: Expected, newest: int) -> list[Segment]:
    """Open the segments of a collection whose last sequence is `newest`; remove those that are of no use.

    Raises OSError for what is not the files' fault.
    """
    found = []
    for path in segments_in(directory):
        try:
            segment = Segment(path, expected)
            if segment.header.through > newest:
                raise SegmentDamaged(path, f"has documents of {newest} and more writes, which the store lost")
        except SegmentDamaged as error:
            discard(path, error)
        else:
            found.append(segment)
    return found


def discard(directory: Path, error: SegmentDamaged) -> None:
    """Remove a segment that is of no use, and say so."""
    _log.warning("a segment is not used, and its vectors are read from the store: %s", error)
    shutil.rmtree(directory, ignore_errors=True)


def parts_of(segments: Sequence[Segment], versions: NDArray[np.int64], newest: int) -> Opened:
    """Choose segments, the largest first, that together have each current document at most once.

    `versions` has the key and the sequence of each document, in the order of sequences. Segments without a
    current document that is not in another one are removed.
    """
    keys, sequences = np.ascontiguousarray(versions[:, 0]), np.ascontiguousarray(versions[:, 1])
    taken = np.zeros(len(keys), dtype=np.bool_)
    parts = []
    for segment in sorted(segments, key=lambda each: (-each.count, each.directory.name)):
        at, alive = found_in(sequences, segment.sequences)
        alive &= keys[at] == segment.keys if len(keys) else False
        alive &= ~taken[at] if len(keys) else False
        if alive.any():
            taken[at[alive]] = True
            parts.append(Part(segment, alive))
        else:
            shutil.rmtree(segment.directory, ignore_errors=True)
    parts.sort(key=lambda part: part.segment.header.after)
    is_covered = taken
    for part in parts:
        is_covered |= covers(part.segment, sequences)
    uncovered = sequences[~is_covered]
    return Opened(parts, int(uncovered[0]) - 1 if len(uncovered) else newest)


def is_of_store(part: Part, documents: DocumentReader) -> bool:
    """Return whether the newest current rows of a segment have the vectors that the store has.

    A crash of the machine or of PostgreSQL may lose the last writes where `synchronous` is `normal`. Then
    others get their sequences, and those that the segment has of them are not in the store.
    """
    view = part.view()
    alive = np.flatnonzero(view.alive)
    newest = alive[np.argsort(view.segment.sequences[alive])[-COMPARED_ROWS:]]
    keys = view.segment.keys[newest].tolist()
    rows = documents.fetch(keys, {Include.VECTOR})
    vectors = view.segment.vectors.read(newest)
    for key, vector in zip(keys, vectors, strict=True):
        document = rows.get(key, (0, None))[1]
        if document is None or document.vector is None:  # damaged: the search says so when it meets it
            continue
        own = np.asarray(document.vector, dtype=np.float32)
        if not np.array_equal(prepare_rows(own[None], view.segment.header.metric)[0], vector):
            return False
    return True


def covers(segment: Segment, sequences: Sequences) -> NDArray[np.bool_]:
    """Return which sequences are of documents that the segment would have if they had a vector."""
    header = segment.header
    covered: NDArray[np.bool_] = (sequences > header.after) & (sequences <= header.through)
    return covered


def found_in(ascending: Sequences, wanted: Sequences) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Return for each wanted number a position in the ascending ones, and whether it is there."""
    at = np.searchsorted(ascending, wanted)
    if not len(ascending):
        return at, np.zeros(len(wanted), dtype=np.bool_)
    at = np.minimum(at, len(ascending) - 1)
    return at, ascending[at] == wanted
