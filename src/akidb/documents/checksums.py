"""Checksums, which detect damage within a row: CRC-32 of the content of a document, its vector, a tombstone.

Rows written before schema 2, or 3 for tombstones, have none and are not checked.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple
from zlib import crc32

from akidb.domain.errors import Damaged
from akidb.domain.ids import CollectionId


class Stored(NamedTuple):
    """A row as it is stored. A part that was not read is None, as is its checksum. No vector is b""."""

    document_key: int
    sequence: int
    id: str
    text: str | None
    metadata: str
    vector: bytes | None
    content_checksum: int | None
    vector_checksum: int | None


def content_checksum(id: str, sequence: int, text: str | None, metadata: str) -> int:
    """Return the checksum of a row but for its vector."""
    rest = "" if text is None else f"\0{text}"
    return crc32(f"{sequence}\0{id}\0{metadata}{rest}".encode())


vector_checksum = crc32
"""Return the checksum of a vector, given as bytes."""


def is_sound(row: Any) -> bool:
    """Return whether the parts of a row, in the order of `Stored`, match their checksums."""
    _key, sequence, id, text, metadata, vector, of_content, of_vector = row
    if of_content is not None:
        rest = "" if text is None else f"\0{text}"
        if of_content != crc32(f"{sequence}\0{id}\0{metadata}{rest}".encode()):
            return False
    elif type(id) is not str or type(metadata) is not str or not (text is None or type(text) is str):
        return False  # a row without a checksum, or a part of one
    if of_vector is None:  # rows without a checksum are older than documents without a vector
        return vector is None or bool(vector)
    is_same: bool = of_vector == _of_any(vector)
    return is_same


def are_intact(rows: Sequence[Any]) -> bool:
    """Return whether each row has the checksums of the parts that were read, and matches them.

    Such rows are sound. This takes half the time of looking at each for itself.
    """
    found = [
        crc32(
            f"{sequence}\0{id}\0{metadata}".encode()
            if text is None
            else f"{sequence}\0{id}\0{metadata}\0{text}".encode()
        )
        for _, sequence, id, text, metadata, _, _, _ in rows
    ]
    of_vectors = [None if row[5] is None else _of_any(row[5]) for row in rows]
    return found == [row[6] for row in rows] and of_vectors == [row[7] for row in rows]


def deletion_checksum(id: str, sequence: int) -> int:
    """Return the checksum of a tombstone."""
    return crc32(f"{sequence}\0{id}".encode())


def is_sound_deletion(sequence: object, id: object, checksum: object) -> bool:
    """Return whether a tombstone can be read, and matches its checksum."""
    if type(sequence) is not int or type(id) is not str:
        return False
    return checksum is None or checksum == deletion_checksum(id, sequence)


def damaged_deletion(sequence: object, collection_id: CollectionId) -> Damaged:
    """Return the error for a tombstone that is not sound."""
    return Damaged.deletion(sequence if type(sequence) is int else None, collection_id)


def _of_any(vector: object) -> int | None:
    return crc32(vector) if isinstance(vector, bytes) else None


def damaged(row: Any, collection_id: CollectionId) -> Damaged:
    """Return the error for a row that is not sound; it does not contain the content."""
    id = row[2]
    return Damaged(id if type(id) is str else None, row[0], collection_id)
