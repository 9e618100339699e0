"""The header of a segment: what it contains, and the checksums of its files."""

import hashlib
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from akidb.domain.entities import Metric
from akidb.domain.ids import CollectionId, StoreId
from akidb.ports.search import GraphSettings
from akidb.search.segments.files import FileRecord, SegmentDamaged, unreadable, write_array

FORMAT: Final = 1
"""Of the files; a segment of another format is built again."""
_NAME: Final = "segment.json"
_LARGEST_BYTES: Final = 2**20


class Recall(msgspec.Struct, frozen=True):
    """A measured recall, for one number of results."""

    top_k: int
    ef: int
    recall: float


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a segment contains."""

    format: int = FORMAT
    store_id: str
    collection_id: str
    dimension: int
    metric: Metric
    count: int
    after: int
    """The sequences of its documents are greater than this,"""
    through: int
    """and not greater than this."""
    graph: str
    """The kind of its graph: one of `graph.KINDS`."""
    settings: GraphSettings | None = None
    """None for rows."""
    scale: float = 1.0
    """What vectors are multiplied by in the graph; a power of two."""
    error: float = 0.0
    """The root mean square of the distances of vectors from their compressed forms, at that scale."""
    recalls: list[Recall] = []
    files: dict[str, FileRecord] = {}


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What a segment must be, to be of use."""

    store_id: StoreId
    collection_id: CollectionId
    dimension: int
    metric: Metric


def write_header(directory: Path, header: Header) -> None:
    """Write the header, with a checksum of its own."""
    body = msgspec.json.encode(header)
    line = body + b"\n" + _checksum(body) + b"\n"
    write_array(directory / _NAME, np.frombuffer(line, dtype=np.uint8))


def read_header(directory: Path, expected: Expected | None = None) -> Header:
    """Read and check the header of a segment.

    Raises SegmentDamaged, also for another format or collection than expected.
    """
    path = directory / _NAME
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST_BYTES)
    except OSError as error:
        raise unreadable(path, error) from error
    body, _, rest = text.partition(b"\n")
    if rest != _checksum(body) + b"\n":
        raise SegmentDamaged(path, "does not match its checksum")
    try:
        header = msgspec.json.decode(body, type=Header)
    except msgspec.MsgspecError as error:
        raise SegmentDamaged(path, f"has another format: {error}") from error
    if header.format != FORMAT:
        raise SegmentDamaged(path, f"has format {header.format} instead of {FORMAT}")
    if expected is not None:
        _compare(path, header, expected)
    return header


def _compare(path: Path, header: Header, expected: Expected) -> None:
    pairs: dict[str, tuple[object, object]] = {
        "store_id": (header.store_id, str(expected.store_id)),
        "collection_id": (header.collection_id, str(expected.collection_id)),
        "dimension": (header.dimension, expected.dimension),
        "metric": (header.metric, expected.metric),
    }
    for name, (found, wanted) in pairs.items():
        if found != wanted:
            raise SegmentDamaged(path, f"has {name} {found} instead of {wanted}")


def _checksum(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).hexdigest().encode()
