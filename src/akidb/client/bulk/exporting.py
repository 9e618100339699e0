"""Writes documents of a collection to a file, page by page."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Protocol

import numpy as np

from akidb.client.bulk.formats import FileFormat, pyarrow
from akidb.client.patience import patiently
from akidb.domain.archives import ByteSink
from akidb.domain.documents import MAX_PAGE_LIMIT, Document, Include, Page
from akidb.operations.documents import ScanDocuments
from akidb.ports import wire

GROUP_BYTES = 16 * 2**20
"""About how long a row group of Parquet is."""
_COLUMNS = ("id", *Include)


class Writer(Protocol):
    """Writes pages of documents in a format."""

    def write(self, documents: Sequence[Document]) -> None:
        """Append documents."""

    def finish(self) -> None:
        """Write the end."""

    def abandon(self) -> None:
        """Write nothing more."""


def writer_of(format: FileFormat, sink: ByteSink, include: Iterable[str], dimension: int | None) -> Writer:
    """Return what writes to a sink; `dimension` is that of the vectors, None if there are none yet."""
    if format == FileFormat.JSONL:
        return _JsonLines(sink)
    return _Tables(format, sink, {part.partition(".")[0] for part in include}, dimension)


class _JsonLines:
    def __init__(self, sink: ByteSink) -> None:
        self._sink = sink

    def write(self, documents: Sequence[Document]) -> None:
        self._sink.write(b"".join(wire.encode(document) + b"\n" for document in documents))

    def finish(self) -> None:
        pass

    def abandon(self) -> None:
        pass


class _Tables:
    """Parquet, and Arrow as a file or stream: columns `id`, `text`, `metadata` as JSON, `vector`."""

    def __init__(self, format: FileFormat, sink: ByteSink, parts: set[str], dimension: int | None) -> None:
        self._pa = pa = pyarrow()
        numbers = pa.float32()
        kinds: dict[str, Any] = {
            "vector": pa.list_(numbers) if dimension is None else pa.list_(numbers, dimension)
        }
        self._names = [str(name) for name in _COLUMNS if name == "id" or name in parts]
        self._schema = pa.schema([(name, kinds.get(name, pa.string())) for name in self._names])
        self._dimension = dimension
        self._pending: list[Any] = []
        self._pending_bytes = 0
        self._is_parquet = format == FileFormat.PARQUET
        self._end = _Appending(sink)
        file = pa.PythonFile(self._end, mode="w")
        if self._is_parquet:
            import pyarrow.parquet as pq

            self._file: Any = pq.ParquetWriter(file, self._schema, compression="zstd")
        elif format == FileFormat.ARROW:
            self._file = pa.ipc.new_file(file, self._schema)
        else:
            self._file = pa.ipc.new_stream(file, self._schema)

    def write(self, documents: Sequence[Document]) -> None:
        if not documents:
            return
        batch = self._pa.RecordBatch.from_arrays(
            [self._column(name, documents) for name in self._names], schema=self._schema
        )
        if not self._is_parquet:
            self._file.write_batch(batch)
            return
        self._pending.append(batch)
        self._pending_bytes += batch.nbytes
        if self._pending_bytes >= GROUP_BYTES:
            self._flush()

    def finish(self) -> None:
        self._flush()
        self._file.close()

    def abandon(self) -> None:
        self._end.abandoned = True
        with suppress(self._pa.ArrowException, OSError):
            self._file.close()

    def _flush(self) -> None:
        if self._pending:
            table = self._pa.Table.from_batches(self._pending)
            self._file.write_table(table, row_group_size=table.num_rows)
            self._pending, self._pending_bytes = [], 0

    def _column(self, name: str, documents: Sequence[Document]) -> Any:
        pa = self._pa
        if name == "vector":
            return self._vectors([document.vector for document in documents])
        values: list[Any] = [getattr(document, name) for document in documents]
        if name == "metadata":
            values = [None if value is None else wire.encode(value).decode() for value in values]
        return pa.array(values, pa.string())

    def _vectors(self, vectors: Sequence[Any]) -> Any:
        pa, dimension = self._pa, self._dimension
        if dimension is None:
            return pa.array(vectors, self._schema.field("vector").type)
        empty = np.zeros(dimension, np.float32)
        matrix = np.array([empty if vector is None else vector for vector in vectors], np.float32)
        absent = [vector is None for vector in vectors]
        mask = pa.array(absent) if any(absent) else None
        return pa.FixedSizeListArray.from_arrays(pa.array(matrix.reshape(-1)), dimension, mask=mask)


class _Appending:
    """What pyarrow needs of a file that is only written at its end."""

    closed = False

    def __init__(self, sink: ByteSink) -> None:
        self._sink = sink
        self._size = 0
        self.abandoned = False

    def write(self, data: Any) -> int:
        piece = bytes(data)
        if not self.abandoned:
            self._sink.write(piece)
        self._size += len(piece)
        return len(piece)

    def tell(self) -> int:
        return self._size

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False


def export(
    perform: Callable[[Any], Page[Document]],
    where: Mapping[str, Any],
    filter: Mapping[str, Any] | None,
    include: frozenset[str],
    writer: Writer,
    progress: Callable[[int], object] | None,
) -> int:
    """Write all documents that match, sorted by id; return their number."""
    cursor: str | None = None
    count = 0
    try:
        while True:
            request = ScanDocuments(
                **where, filter=filter, include=include, limit=MAX_PAGE_LIMIT, cursor=cursor
            )
            page = patiently(partial(perform, request))
            writer.write(page.items)
            count += len(page.items)
            if progress is not None:
                progress(count)
            cursor = page.next_cursor
            if cursor is None:
                writer.finish()
                return count
    except BaseException:
        writer.abandon()
        raise
