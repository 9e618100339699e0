"""Whose a SQLite file is: another program's file is neither changed nor filled with tables.

SQLite keeps a number for this in the header of a file, which `PRAGMA application_id` sets. Files made by
earlier versions of AkiDB have none: these are recognised by their tables.
"""

from contextlib import closing
from pathlib import Path
from typing import Final, NamedTuple

from akidb.domain.errors import Unavailable
from akidb.sql.errors import translated
from akidb.sql.sqlite_library import library, uri

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_AT = slice(68, 72)
"""Where the number is: https://sqlite.org/fileformat.html, section 1.3."""


class FileKind(NamedTuple):
    """A kind of file: its application ID, and tables that each of them has."""

    application_id: int
    tables: frozenset[str]


METADATA: Final = FileKind(int.from_bytes(b"AkiM"), frozenset({"alembic_version", "tenants"}))
TENANT: Final = FileKind(int.from_bytes(b"AkiT"), frozenset({"control", "collections"}))


def require_own(path: Path, kind: FileKind) -> None:
    """Require an existing file to be of that kind, or to have no tables. Changes nothing.

    Only for a file that this process has not opened: closing it would drop SQLite's locks.
    Raises Unavailable.
    """
    with translated(path.name):
        if not path.exists():
            return
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
        if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
            return  # empty, or for SQLite to refuse
        application_id = int.from_bytes(header[_AT])
        if application_id == kind.application_id:
            return
        tables = _tables(path)
        if not (tables >= kind.tables or (application_id == 0 and not tables)):
            raise Unavailable(
                f"{path.name} is not a file of AkiDB, but of another program, or another file of AkiDB;"
                " it was not changed: choose another directory"
            )


def _tables(path: Path) -> set[str]:
    log = path.with_name(path.name + "-wal")
    is_settled = not log.exists() or not log.stat().st_size
    with closing(library.connect(uri(path, "immutable=1" if is_settled else "mode=ro"), uri=True)) as reader:
        return {name for (name,) in reader.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
