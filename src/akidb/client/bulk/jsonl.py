"""Documents of a file of JSON lines."""

import codecs
from collections.abc import Iterator
from typing import Any, Final

from akidb.client.bulk.parts import (
    BATCH_BYTES,
    BATCH_TEXTS,
    Columns,
    Part,
    Position,
    counted_as_embedded,
    id_of_row,
    naming,
)
from akidb.domain.documents import DocumentInput, DocumentLike
from akidb.domain.errors import InvalidArgument
from akidb.domain.json import decode_strict, member_path

MAX_LINE_BYTES = 64 * 2**20
_OBJECT: Final[Any] = dict[str, Any]


class JsonLines:
    """A file of JSON lines, read from its beginning or, if it can seek, from a position."""

    def __init__(self, file: Any, name: str, columns: Columns) -> None:
        self.name = name
        self.total: int | None = None
        self._file = file
        self._columns = columns

    def parts(self, start: Position, batch_size: int, *, embeds: bool) -> Iterator[Part]:
        """Yield batches after a position."""
        if start.offset:
            self._file.seek(start.offset)
        row, number, offset = start
        documents: list[DocumentLike] = []
        numbers: list[int] = []
        size = texts = 0
        begun = start
        while line := self._file.readline(MAX_LINE_BYTES + 1):
            if not number and line.startswith(codecs.BOM_UTF8):
                offset += len(codecs.BOM_UTF8)
                line = line.removeprefix(codecs.BOM_UTF8)
            number += 1
            if not line.strip():
                offset += len(line)
                continue
            with naming(self.name, row, [number]):
                document = self._document(line, row)
            is_text = embeds and counted_as_embedded(document)
            if documents and (
                len(documents) == batch_size
                or size + len(line) > BATCH_BYTES
                or texts + is_text > BATCH_TEXTS
            ):
                end = Position(row, number - 1, offset)
                yield Part(documents, begun, end, numbers)
                begun, documents, numbers, size, texts = end, [], [], 0, 0
            documents.append(document)
            numbers.append(number)
            size, texts = size + len(line), texts + is_text
            offset += len(line)
            row += 1
        if documents:
            yield Part(documents, begun, Position(row, number, offset), numbers)

    def _document(self, line: bytes, row: int) -> DocumentLike:
        """Decode a line. Errors have paths of a batch that begins with it."""
        if len(line) > MAX_LINE_BYTES:
            raise InvalidArgument("documents[0]", f"is longer than {MAX_LINE_BYTES} bytes")
        columns = self._columns
        document: DocumentLike
        try:
            if columns.are_usual:
                document = decode_strict(line, DocumentInput)
            else:
                document = self._renamed(decode_strict(line, _OBJECT))
        except InvalidArgument as error:
            inner = error.field.removeprefix("body")
            path = f"documents[0]{inner}" if inner[:1] in {"", "["} else member_path("documents[0]", inner)
            raise InvalidArgument(path, error.reason) from None
        if columns.id_prefix is not None:
            if isinstance(document, DocumentInput):
                if document.id is None:
                    document.id = id_of_row(columns.id_prefix, row)
            elif document.get("id") is None:
                document = {**document, "id": id_of_row(columns.id_prefix, row)}
        return document

    def _renamed(self, found: dict[str, Any]) -> dict[str, Any]:
        names, others = self._columns.names, self._columns.metadata
        document = {field: found[name] for field, name in names.items() if found.get(name) is not None}
        if others is None and "metadata" not in document:
            taken = set(names.values())
            others = tuple(name for name in found if name not in taken)
        if others:
            metadata = {name: found[name] for name in others if name in found}
            if metadata:
                given = document.get("metadata", {})
                document["metadata"] = given | metadata if isinstance(given, dict) else given
        identity = document.get("id")
        if type(identity) is int:
            document["id"] = str(identity)
        return document
