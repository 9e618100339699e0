"""The formats of files with documents."""

import os
from enum import StrEnum
from pathlib import PurePath
from typing import Any, Literal

from akidb.domain.errors import InvalidArgument
from akidb.domain.extras import needing_extras
from akidb.domain.names import check_word


class FileFormat(StrEnum):
    """A format of files with documents."""

    JSONL = "jsonl"
    """One JSON object per line."""
    PARQUET = "parquet"
    ARROW = "arrow"
    """An Arrow IPC file, also known as Feather."""
    ARROW_STREAM = "arrows"
    """An Arrow IPC stream."""


FormatLike = FileFormat | Literal["jsonl", "parquet", "arrow", "arrows"]

_SUFFIXES = {
    ".jsonl": FileFormat.JSONL,
    ".ndjson": FileFormat.JSONL,
    ".parquet": FileFormat.PARQUET,
    ".pq": FileFormat.PARQUET,
    ".arrow": FileFormat.ARROW,
    ".feather": FileFormat.ARROW,
    ".ipc": FileFormat.ARROW,
    ".arrows": FileFormat.ARROW_STREAM,
}


def format_of(file: object, given: FormatLike | str | None) -> FileFormat:
    """Return the given format, or that of a path by its suffix. Raises InvalidArgument(`format`)."""
    if given is not None:
        return check_word(FileFormat, given, "format")
    path = file if isinstance(file, str | os.PathLike) else getattr(file, "name", None)
    suffix = PurePath(os.fsdecode(path)).suffix.lower() if isinstance(path, str | os.PathLike) else ""
    if suffix not in _SUFFIXES:
        known = ", ".join(_SUFFIXES)
        raise InvalidArgument("format", f"is needed for a file without a known suffix ({known})")
    return _SUFFIXES[suffix]


def pyarrow() -> Any:
    """Return the module pyarrow. Raises Unavailable, which names the extra, if it is not installed."""
    with needing_extras():
        import pyarrow as pa
        import pyarrow.parquet

        assert pyarrow.parquet
    return pa
