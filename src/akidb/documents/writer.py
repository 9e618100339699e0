"""Writes to one collection: rows, tombstones, sequences and counters, in one transaction."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import sqlalchemy as sa

from akidb.documents.bulk import NewMetadata, rows_of
from akidb.documents.checksums import content_checksum, is_sound
from akidb.documents.deletions import discard, discard_old
from akidb.documents.reader import WIDE_ROWS, SqlDocumentReader
from akidb.documents.statements import TenantSql
from akidb.domain.errors import QuotaExceeded, documents_exist
from akidb.domain.vectors import other_places
from akidb.ports.documents import CollectionControl, DocumentBatch, DocumentChanges, Selection

if TYPE_CHECKING:
    from numpy.typing import NDArray

_decode = msgspec.json.Decoder(dict[str, Any]).decode


class SqlDocumentWriter(SqlDocumentReader):
    """`akidb.ports.documents.DocumentWriter`.

    `control` is the row before the transaction, but for a dimension that it settles.
    """

    def __init__(
        self,
        connection: sa.Connection,
        sql: TenantSql,
        control_row: CollectionControl,
        require_room: Callable[[sa.Connection, int], None],
    ) -> None:
        """Take, as `require_room`, the check that the disk has room for rows of so many bytes."""
        super().__init__(connection, sql, control_row)
        self._require_room = require_room
        self._sequence = control_row.sequence
        self._rows_written = rows_of(connection, sql, control_row.collection_key)

    def upsert(self, batch: DocumentBatch) -> None:
        known: dict[str, int] = {}
        if self._sequence:  # 0: nothing was ever written, in this transaction or before
            found = self._statements.sizes.all(self._connection, **self._key, wanted=batch.ids)
            known = {row[0]: _charged(row[1]) for row in found}
        size = sum(batch.sizes)
        first = self._account(
            documents=len(batch.ids) - len(known),
            size=size - sum(known.values()),
            writes=len(batch.ids),
        )
        self._require_room(self._connection, size)
        self._settle_dimension(batch.vectors)
        self._rows_written.upsert(batch, first)

    def insert(self, batch: DocumentBatch, *, skip: bool) -> list[int]:
        known = set()
        if self._sequence:
            found = self._statements.sizes.all(self._connection, **self._key, wanted=batch.ids)
            known = {row[0] for row in found}
        if known and not skip:
            raise documents_exist([id for id in batch.ids if id in known])
        places = [place for place, id in enumerate(batch.ids) if id not in known]
        if places:
            new = _some(batch, places) if known else batch
            first = self._account(documents=len(places), size=sum(new.sizes), writes=len(places))
            self._require_room(self._connection, sum(new.sizes))
            self._settle_dimension(new.vectors)
            self._rows_written.upsert(new, first)
        return places

    def change(self, changes: DocumentChanges) -> tuple[list[int], int]:
        sizes: dict[str, int] = {}
        growth = 0
        bare = self._without_vector(changes.ids)
        place_of = {id: place for place, id in enumerate(changes.ids)}
        with closing(self._chosen(Selection(ids=changes.ids))) as chosen:
            for _key, id, size, text, metadata in chosen:
                place = place_of[id]
                more = _growth(text, changes.texts[place]) + _growth(metadata, changes.metadata[place])
                if id in bare and place in changes.vector_of:
                    bare.remove(id)
                    more += 4 * changes.vectors.shape[1]
                sizes[id] = size + more
                growth += more
        places = [place for place, id in enumerate(changes.ids) if id in sizes]
        if not places:
            return [], 0
        sequence = self._account(documents=0, size=growth, writes=len(places))
        self._require_room(self._connection, sum(sizes.values()))
        if self.control.dimension is None and any(place in changes.vector_of for place in places):
            self._settle_dimension(changes.vectors)
        for at in range(0, len(places), WIDE_ROWS):
            some = places[at : at + WIDE_ROWS]
            self._rows_written.upsert(self._changed(changes, some, sizes), sequence + at)
        return places, len(bare)

    def _without_vector(self, ids: Sequence[str]) -> set[str]:
        """Return those of these documents that exist and have no vector."""
        found = self._statements.without_vector.all(self._connection, **self._key, wanted=ids)
        return {row[0] for row in found}

    def _changed(
        self, changes: DocumentChanges, places: Sequence[int], sizes: Mapping[str, int]
    ) -> DocumentBatch:
        """Return the documents at these places with their changes."""
        ids = [changes.ids[place] for place in places]
        rows = self._statements.by_id[True].rows(self._connection, **self._key, wanted=ids)
        stored = {row[2]: row for row in rows}
        texts: list[str | None] = []
        metadata: list[str] = []
        vectors = np.empty((len(places), self.control.dimension or 0), dtype="<f4")
        bare: list[int] = []
        for at, (place, id) in enumerate(zip(places, ids, strict=True)):
            row = stored[id]
            if not is_sound(row):
                raise self._damaged(row)
            text, new, given = changes.texts[place], changes.metadata[place], changes.vector_of.get(place)
            texts.append(row[3] if text is None else text)
            metadata.append(row[4] if new is None else new)
            if given is not None:
                vectors[at] = changes.vectors[given]
            elif row[5]:
                vectors[at] = np.frombuffer(row[5], dtype="<f4")
            else:
                bare.append(at)
        vectors = np.delete(vectors, bare, axis=0) if bare else vectors
        return DocumentBatch(ids, texts, metadata, [sizes[id] for id in ids], vectors, bare)

    def delete(self, selection: Selection) -> int:
        """Delete documents, leaving tombstones; return their number."""
        if selection.ids is None:
            with closing(self._chosen(selection)) as found:
                chosen = [(id, size, key) for key, id, size, *_ in found]
        else:  # not their contents, so that a damaged document can be deleted
            known = self._statements.sizes.all(self._connection, **self._key, wanted=selection.ids)
            chosen = [(id, _charged(size), key) for id, size, key in known]
        if not chosen:
            return 0
        first = self._account(
            documents=-len(chosen), size=-sum(size for _, size, _ in chosen), writes=len(chosen)
        )
        self._rows_written.delete([key for *_, key in chosen], [id for id, *_ in chosen], first)
        discard_old(self._connection, self._sql, self.control, self._sequence)
        return len(chosen)

    def clear(self) -> int:
        if not self.control.document_count:
            return 0
        (size,) = self._statements.collection_size.first(self._connection, **self._key)
        deleted = self._statements.clear.run(self._connection, self._key)
        self._account(documents=-self.control.document_count, size=-size, writes=1)
        discard(self._connection, self._sql, self.control.collection_key, self._sequence)
        return deleted

    def update(self, selection: Selection, change: Callable[[str, dict[str, Any]], str]) -> int:
        """Replace metadata of documents; return their number."""
        new: list[tuple[str, int, int, str, str | None]] = []
        growth = 0
        with closing(self._chosen(selection)) as chosen:
            for document_key, id, size, text, old in chosen:
                metadata = change(id, _decode(old))
                difference = len(metadata.encode()) - len(old.encode())
                new.append((metadata, size + difference, document_key, id, text))
                growth += difference
        if not new:
            return 0
        first = self._account(documents=0, size=growth, writes=len(new))
        self._require_room(self._connection, sum(size for _, size, *_ in new))
        rows = [
            NewMetadata(metadata, size, sequence, content_checksum(id, sequence, text, metadata), key)
            for sequence, (metadata, size, key, id, text) in enumerate(new, first)
        ]
        self._rows_written.replace_metadata(rows)
        return len(new)

    def _settle_dimension(self, vectors: "NDArray[np.float32]") -> None:
        """Give the collection the dimension of its first vectors."""
        if self.control.dimension is None and len(vectors):
            dimension = vectors.shape[1]
            parameters = {**self._own, "key": self.control.collection_key, "dimension": dimension}
            self._statements.settle_dimension.run(self._connection, parameters)
            self.control = msgspec.structs.replace(self.control, dimension=dimension)

    def _account(self, *, documents: int, size: int, writes: int) -> int:
        """Charge a write to the quotas and allocate its sequences; return the first one."""
        if self._statements.use_storage.run(self._connection, {**self._own, "bytes": size}) != 1:
            limit, used = self._statements.storage.first(self._connection, **self._own)
            raise QuotaExceeded("storage_quota_bytes", limit, used, size)
        parameters = {
            **self._own,
            "key": self.control.collection_key,
            "documents": documents,
            "bytes": size,
            "writes": writes,
        }
        if self._statements.use_collection.run(self._connection, parameters) != 1:
            found = self.control
            raise QuotaExceeded(
                "max_document_count", found.max_document_count, found.document_count, documents
            )
        first = self._sequence + 1
        self._sequence += writes
        return first


def _some(batch: DocumentBatch, places: Sequence[int]) -> DocumentBatch:
    """Return the documents at these places."""
    rows = {place: row for row, place in enumerate(other_places(len(batch.ids), batch.without_vector))}
    return DocumentBatch(
        [batch.ids[place] for place in places],
        [batch.texts[place] for place in places],
        [batch.metadata[place] for place in places],
        [batch.sizes[place] for place in places],
        np.ascontiguousarray(batch.vectors[[rows[place] for place in places if place in rows]]),
        [at for at, place in enumerate(places) if place not in rows],
    )


def _growth(old: str | None, new: str | None) -> int:
    """Return how many bytes a text gains; a new one of None changes nothing."""
    return 0 if new is None else len(new.encode()) - len((old or "").encode())


def _charged(size: object) -> int:
    """Return the stored size of a document; 0 if it is damaged, which `akidb doctor` finds."""
    return size if type(size) is int and size >= 0 else 0
