"""Checks of the stores in an archive, by the rules of user input: while it is read, and while it is written.

What a reader would refuse is not written: `sound_parts`.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from akidb.domain.archives import fault
from akidb.domain.batches import check_id
from akidb.domain.documents import MAX_TEXT_BYTES, stored_sizes
from akidb.domain.entities import MAX_DIMENSION, MIN_DIMENSION, Metric
from akidb.domain.errors import InvalidArgument, Unavailable
from akidb.domain.ids import CollectionId, DatabaseId, TenantId
from akidb.domain.json import canonical_object
from akidb.domain.lifecycle import CollectionState, DatabaseState
from akidb.domain.names import MAX_SEQUENCE, MAX_VERSION, check_integer, check_text
from akidb.domain.vectors import other_places
from akidb.observe.right_of_way import give_way
from akidb.ports.archive import (
    CollectionImage,
    CollectionRecord,
    Documents,
    Part,
    StoreHead,
    StoreImage,
    Tombstones,
)
from akidb.ports.metadata import MetadataTransaction
from akidb.services.batches import refuse_faulty

_DIGEST_BYTES = 16
_KINDS: Mapping[str, type] = {
    "collection_id": CollectionId,
    "database_id": DatabaseId,
    "state": CollectionState,
    "database_state": DatabaseState,
    "metric": Metric,
}
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class StoreCheck:
    """Checks collections as they are read: each row, then the counters once the collection ends."""

    def __init__(self, store: StoreImage | None = None) -> None:
        """Compare the IDs of a collection here, or let the `store` do so if its rows cannot be trusted."""
        self._store = store
        self._image: CollectionImage | None = None

    def take(self, part: Part) -> None:
        if isinstance(part, Documents):
            self._take_documents(part)
        elif isinstance(part, Tombstones):
            self._take_tombstones(part)
        else:
            self.finish()
            if isinstance(part, CollectionImage):
                self._begin(part)

    def _begin(self, image: CollectionImage) -> None:
        self._image = image
        self._count = self._bytes = self._last = 0
        self._last_deletion = image.tombstone_floor
        self._ids = bytearray()
        self._is_verified = True
        for name, kind in _KINDS.items():  # the reader has decoded them, SQLite may hold anything
            if not isinstance(getattr(image, name), kind):
                raise fault("cannot be read", self._rest(name))
        check_integer(image.version, self._path("version"), 1, MAX_VERSION)
        for name in ("max_document_count", "document_count", "storage_used_bytes"):
            check_integer(getattr(image, name), self._path(name))
        for name in ("sequence", "tombstone_floor"):
            check_integer(getattr(image, name), self._path(name), 0, MAX_SEQUENCE)
        if image.dimension is not None:
            check_integer(image.dimension, self._path("dimension"), MIN_DIMENSION, MAX_DIMENSION)
        check_integer(image.tombstone_floor, self._path("tombstone_floor"), 0, image.sequence)

    def _take_documents(self, part: Documents) -> None:
        image = self._image
        assert image is not None
        if image.dimension is None and len(part.vectors):
            raise fault("are not allowed before the collection has a dimension", self._rest("vectors"))
        if image.dimension is not None and part.vectors.shape[1] != image.dimension:
            raise fault(f"must have {image.dimension} dimensions", self._rest("vectors"))
        self._last = self._ascending(part.sequences, self._last)
        if not part.is_verified:
            self._is_verified = False
            self._check_contents(part)
        if self._store is None:
            for id in part.ids:
                self._ids += hashlib.blake2b(id.encode(), digest_size=_DIGEST_BYTES).digest()
        self._bytes += stored_sizes(part.ids, part.texts, part.metadata, 4 * part.vectors.size)
        names = _Paths(self._path("documents"), self._count, part)
        refuse_faulty(part.vectors, image.metric, names)
        self._count += len(part.ids)

    def _check_contents(self, part: Documents) -> None:
        for at, (id, text, metadata) in enumerate(zip(part.ids, part.texts, part.metadata, strict=True)):
            path = f"{self._path('documents')}[{self._count + at}]"
            check_id(id, f"{path}.id")
            if text is not None:
                check_text(text, f"{path}.text", maximum_bytes=MAX_TEXT_BYTES)
            _check_metadata(metadata, f"{path}.metadata")

    def _take_tombstones(self, part: Tombstones) -> None:
        if len(part.sequences) != len(part.ids):
            raise fault("has different numbers of sequences and ids", self._rest("tombstones"))
        self._last_deletion = self._ascending(part.sequences, self._last_deletion)
        for at, id in enumerate(part.ids):
            check_id(id, f"{self._path('tombstones')}[{at}].id")

    def _ascending(self, sequences: Sequence[int], last: int) -> int:
        """Return the last sequence; require strictly ascending ones above `last`, up to the collection's."""
        assert self._image is not None
        for sequence in sequences:
            if not last < sequence <= self._image.sequence:
                raise fault(f"has sequence {sequence} out of order or above the collection's", self._rest(""))
            last = sequence
        return last

    def finish(self) -> None:
        """Check the totals of the last collection, if it was not done."""
        image, self._image = self._image, None
        if image is None:
            return
        for name, found in (("document_count", self._count), ("storage_used_bytes", self._bytes)):
            if getattr(image, name) != found:
                text = f"is {getattr(image, name)}, but the documents have {found}"
                raise fault(text, _place(image, name))
        newest = max(self._last, self._last_deletion)
        if self._store is not None and image.sequence != newest:  # `akidb doctor` finds it after a restore
            text = f"is {image.sequence}, but the last change has {newest}"
            raise fault(text, _place(image, "sequence"))
        if self._store is None:
            ids = np.sort(np.frombuffer(bytes(self._ids), f"S{_DIGEST_BYTES}"))
            twice = bool((ids[1:] == ids[:-1]).any())
        else:
            twice = not self._is_verified and self._store.has_duplicates(image.collection_id)
        if twice:
            raise fault("has a duplicate id", _place(image, "documents"))

    def _path(self, name: str) -> str:
        return f"archive{self._rest(name)}"

    def _rest(self, name: str) -> str:
        assert self._image is not None
        return _place(self._image, name)


def _place(image: CollectionImage, name: str) -> str:
    return f".{image.collection_id}{name and '.'}{name}"


class _Paths(Sequence[str]):
    """Paths of the vectors of a part, built on access."""

    def __init__(self, path: str, first: int, part: Documents) -> None:
        self._path, self._first, self._part = path, first, part

    def __getitem__(self, at: Any) -> Any:
        place = other_places(len(self._part.ids), self._part.without_vector)[at]
        return f"{self._path}[{self._first + place}].vector"

    def __len__(self) -> int:
        raise NotImplementedError


def _check_metadata(text: str, path: str) -> None:
    """Require document metadata to be a storable object in canonical JSON."""
    if text == "{}":
        return
    try:
        value = _decode(text)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidArgument(path, f"is not a JSON object: {error}") from None
    if canonical_object(value, path) != text.encode():
        raise InvalidArgument(path, "is not in canonical form")


def check_agreement(image: CollectionImage, collection: Any) -> None:
    """Check that store and metadata agree on a collection; `collection` is None if the metadata has none."""
    path = f".{image.collection_id}"
    if collection is None:
        raise fault("is in the store but not in the metadata", path)
    for name in ("database_id", "dimension", "metric"):
        there, known = getattr(image, name), getattr(collection, name)
        # Either may be behind with a dimension: they are read one after the other.
        if there != known and not (name == "dimension" and None in {there, known}):
            raise fault(f"has a different {name} in the store and in the metadata", path)


def was_purged(tx: MetadataTransaction, tenant_id: TenantId, image: CollectionImage) -> bool:
    """Return whether a collection was purged after its image was taken.

    Raises InvalidArgument if store and metadata disagree on it.
    """
    pair = tx.collections.find_with_database(tenant_id, image.collection_id)
    if pair is None and tx.records.was_purged(image.collection_id, image.database_id):
        return True
    check_agreement(image, None if pair is None else pair[1])
    return False


def agree(images: Sequence[CollectionImage], known: Mapping[CollectionId, Any]) -> None:
    """Check that a store agrees with the metadata on these collections."""
    for image in images:
        check_agreement(image, known[image.collection_id])


def parts_of(
    image: StoreImage, collections: Sequence[CollectionImage]
) -> Iterator[CollectionImage | Documents | Tombstones]:
    """Yield each of these collections, with its documents and deletions."""
    for collection in collections:
        yield collection
        yield from image.documents(collection.collection_id)
        yield from image.tombstones(collection.collection_id)


def require_copyable(
    tenant_id: TenantId, image: StoreImage, known: Mapping[CollectionId, CollectionRecord]
) -> None:
    """Read a whole store. Raises like `sound_parts`, and for what a copy of its file would have too."""
    found = [each for each in image.collections() if each.collection_id in known]
    require_sound(tenant_id, image, found, lambda: agree(found, known))
    faults = image.faults()
    if faults:
        raise _damaged_store(tenant_id, faults[0])


_PLACE = re.compile(r"archive\.(?P<collection>[^.\[]+)(\.(?P<field>\w+(\[\d+\])?))?")


def sound_parts(
    tenant_id: TenantId,
    image: StoreImage,
    collections: Sequence[CollectionImage],
    compare: Callable[[], object],
) -> Iterator[StoreHead | CollectionImage | Documents | Tombstones]:
    """Yield the parts of a store, and raise for the first that a reader of the archive would refuse.

    `compare` compares the collections with the metadata, before the first part. Raises Damaged for a document
    or a deletion, Unavailable, which names the collection, for the rest.
    """
    check = StoreCheck(image)
    try:
        compare()
        if image.has_strays():
            raise _damaged_store(tenant_id, "it has documents or deletions of no collection")
        yield StoreHead(tenant_id=tenant_id)
        for part in parts_of(image, collections):
            check.take(part)
            yield part
        check.finish()
    except InvalidArgument as error:
        raise _refused(tenant_id, error) from None


def require_sound(
    tenant_id: TenantId,
    image: StoreImage,
    collections: Sequence[CollectionImage],
    compare: Callable[[], object],
) -> None:
    """Read a whole store. Raises the errors of `sound_parts`."""
    for _part in sound_parts(tenant_id, image, collections, compare):
        give_way()


def _refused(tenant_id: TenantId, error: InvalidArgument) -> Unavailable:
    """Return the error for what a reader refuses; not with the content of documents."""
    found = _PLACE.match(error.field)
    if found is None:
        return _damaged_store(tenant_id, "its collections are not as they were written")
    place, field = found["collection"], found["field"]
    name = f"collection {place}"
    if field is None:
        return _damaged_store(tenant_id, f"{name} {error.reason}")
    if "[" in field or field in {"documents", "tombstones", "vectors"}:
        return _damaged_store(tenant_id, f"{name}: {field} are not as they were written")
    return _damaged_store(tenant_id, f"{name}: its {field} {error.reason}")


def _damaged_store(tenant_id: TenantId, what: str) -> Unavailable:
    return Unavailable(f"the store of tenant {tenant_id} is damaged: {what}; run `akidb doctor`")
