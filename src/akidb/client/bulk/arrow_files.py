"""Documents of Parquet and Arrow files, read a few hundred rows at a time."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from akidb.client.bulk.arrow_batches import count_rows
from akidb.client.bulk.arrow_values import Reading
from akidb.client.bulk.formats import FileFormat, pyarrow
from akidb.client.bulk.parts import BATCH_BYTES, BATCH_TEXTS, Columns, Part, Position, in_file
from akidb.domain.errors import InvalidArgument

STEP_ROWS = 256
"""Rows that are decoded at once: of the largest documents 0.5 GiB."""
_PAGE_BYTES = 2**20


class ArrowFile:
    """A Parquet file, an Arrow file or an Arrow stream."""

    def __init__(self, file: Any, name: str, format: FileFormat, columns: Columns) -> None:
        """Open a path or a binary file. Raises InvalidArgument for another format or other columns."""
        self._pa = pa = pyarrow()
        self.name = name
        self.total: int | None = None
        self._format = format
        with self._naming_faults(0):
            if format != FileFormat.PARQUET:
                self.total = _rows_of(file, name)
            source = pa.memory_map(file) if isinstance(file, str) and format != FileFormat.PARQUET else file
            if format == FileFormat.PARQUET:
                import pyarrow.parquet as pq

                self._file: Any = pq.ParquetFile(source, buffer_size=_PAGE_BYTES, pre_buffer=False)
                self.total = self._file.metadata.num_rows
                schema = self._file.schema_arrow
            else:
                options = pa.ipc.IpcReadOptions(use_threads=False)
                opened = pa.ipc.open_file if format == FileFormat.ARROW else pa.ipc.open_stream
                self._file = opened(source, options=options)
                schema = self._file.schema
        try:
            self.reading = Reading(schema, columns)
        except InvalidArgument as error:
            raise in_file(error, name) from None

    def close(self) -> None:
        """Close the file."""
        close = getattr(self._file, "close", None)
        if close is not None:
            close()

    def parts(self, start: Position, batch_size: int, *, embeds: bool) -> Iterator[Part]:
        """Yield batches after a position."""
        embeds = embeds and "vector" not in self.reading.fields
        most = min(batch_size, BATCH_TEXTS) if embeds else batch_size
        pending: list[Any] = []
        count = size = 0
        row = start.rows
        for batch in self._steps(start.rows, most):
            taken = 0
            while taken < batch.num_rows:
                step = self._step_rows(batch.nbytes, batch.num_rows, most)
                rows = min(most - count, batch.num_rows - taken, step) or 1
                piece = batch.slice(taken, rows)
                if pending and (count == most or size + piece.nbytes > BATCH_BYTES):
                    yield self._part(pending, row, count)
                    row, pending, count, size = row + count, [], 0, 0
                    continue
                pending.append(piece)
                taken, count, size = taken + rows, count + rows, size + piece.nbytes
        if pending:
            yield self._part(pending, row, count)

    def _part(self, batches: list[Any], row: int, count: int) -> Part:
        with self._naming_faults(row):
            whole = self._pa.concat_batches(batches) if len(batches) > 1 else batches[0]
        try:
            with self._naming_faults(row):  # text that is not UTF-8
                documents = self.reading.documents(whole, row)
        except InvalidArgument as error:
            raise in_file(error, self.name, row) from None
        return Part(documents, Position(row), Position(row + count), None)

    def _steps(self, start: int, batch_size: int) -> Iterator[Any]:
        """Yield record batches of a few rows, without dictionaries, from a row on."""
        row = 0
        for batch in self._batches(start, batch_size):
            if row + batch.num_rows <= start:
                row += batch.num_rows
                continue
            at = max(0, start - row)
            while at < batch.num_rows:
                step = self._step_rows(batch.nbytes, batch.num_rows, batch_size)
                with self._naming_faults(row + at):
                    piece = self._dense(batch.slice(at, step))
                yield piece
                at += step
            row += batch.num_rows

    def _batches(self, start: int, batch_size: int) -> Iterator[Any]:
        """Yield all record batches; those before `start` may be empty of columns."""
        names = self.reading.names
        row = 0
        if self._format == FileFormat.PARQUET:
            for group in range(self._file.num_row_groups):
                described = self._file.metadata.row_group(group)
                if row + described.num_rows <= start:
                    yield _Skipped(described.num_rows)
                    row += described.num_rows
                    continue
                step = self._step_rows(described.total_byte_size, described.num_rows, batch_size)
                found = self._file.iter_batches(step, row_groups=[group], columns=names, use_threads=False)
                for batch in self._each(found, row):
                    yield batch
                    row += batch.num_rows
            return
        if self._format == FileFormat.ARROW:
            found = map(self._file.get_batch, range(self._file.num_record_batches))
        else:
            found = iter(self._file)
        for batch in self._each(found, 0):
            yield batch.select(names)

    def _each(self, batches: Iterator[Any], row: int) -> Iterator[Any]:
        while True:
            with self._naming_faults(row):
                batch = next(batches, None)
            if batch is None:
                return
            if self._format != FileFormat.PARQUET:
                with self._naming_faults(row):
                    batch.validate(full=True)
            yield batch
            row += batch.num_rows

    @staticmethod
    def _step_rows(size: int, rows: int, batch_size: int) -> int:
        each = max(1, size // max(1, rows))
        return max(1, min(STEP_ROWS, batch_size, BATCH_BYTES // each))

    def _dense(self, batch: Any) -> Any:
        pa = self._pa
        arrays = [
            column.dictionary_decode() if pa.types.is_dictionary(column.type) else column
            for column in batch.columns
        ]
        return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)

    @contextmanager
    def _naming_faults(self, row: int) -> Iterator[None]:
        """Raise InvalidArgument(`file`) for a file that is damaged, of another format, or cannot be read."""
        try:
            yield
        except (self._pa.ArrowException, OSError, ValueError) as error:
            after = f" after row {row}" if row else ""
            lines = str(error).splitlines() or [type(error).__name__]
            reason = f"{self.name} cannot be read as {self._format}{after}: {lines[0]}"
            raise InvalidArgument("file", reason) from None


def _rows_of(file: Any, name: str) -> int | None:
    """Return the number of rows of a path, or of a file that can seek; None if it is not known."""
    if isinstance(file, str):
        with Path(file).open("rb") as opened:
            return _rows_of(opened, name)
    seekable = getattr(file, "seekable", None)
    if seekable is None or not seekable():
        return None
    start = file.tell()
    try:
        return count_rows(file)
    except InvalidArgument as error:
        raise in_file(error, name) from None
    finally:
        file.seek(start)


class _Skipped:
    """A row group that was loaded already."""

    def __init__(self, num_rows: int) -> None:
        self.num_rows = num_rows
