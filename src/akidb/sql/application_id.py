"""Whose a SQLite file is: another program's file is neither changed nor filled with tables.

SQLite keeps a number for this in the header of a file, which `PRAGMA application_id` sets. Files made by
earlier versions of AkiDB have none: these are recognised by all tables of the first schema.
"""

import stat
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, NamedTuple

import sqlalchemy as sa

from akidb.domain.errors import Unavailable
from akidb.sql.errors import translated
from akidb.sql.sqlite_library import library, uri

_MAGIC = b"SQLite format 3\0"
_HEADER_BYTES = 100
_AT = slice(68, 72)
"""Where the number is: https://sqlite.org/fileformat.html, section 1.3."""
_TABLES = "SELECT name FROM sqlite_master WHERE type = 'table'"


class FileKind(NamedTuple):
    """A kind of file: its application ID, and the tables that each of them has since its first schema."""

    application_id: int
    tables: frozenset[str]


METADATA: Final = FileKind(
    int.from_bytes(b"AkiM"),
    frozenset(
        (
            *("alembic_version", "tenants", "databases", "collections", "audit_entries", "tenant_stores"),
            *("outbox", "purged", "remembered_answers"),
        )
    ),
)
TENANT: Final = FileKind(
    int.from_bytes(b"AkiT"),
    frozenset(("control", "collections", "documents", "tombstones", "remembered_answers")),
)


def require_own(path: Path, kind: FileKind, *, alone: bool = False) -> None:
    """Require an existing file to be of that kind, or to have no tables. Changes nothing.

    `alone`: nothing else of AkiDB is beside it, so one that is not of SQLite is no damaged file of AkiDB.
    Only for a file that this process has not opened: closing it would drop SQLite's locks.
    Raises Unavailable.
    """
    with translated(path.name):
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for a writer
                raise _not_own(path.name)
        except FileNotFoundError:
            return
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
        if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
            if header and alone:
                raise _not_own(path.name)
            return  # empty, or for SQLite to refuse
        application_id = int.from_bytes(header[_AT])
        if application_id == kind.application_id:
            return
        tables = _tables(path)
        if not (tables >= kind.tables or (application_id == 0 and not tables)):
            raise _not_own(path.name)


def require_own_tables(name: str, kind: FileKind, connection: sa.Connection) -> None:
    """Require an open file to be of that kind. Raises Unavailable."""
    if connection.exec_driver_sql("PRAGMA application_id").scalar_one() == kind.application_id:
        return
    if not {name for (name,) in connection.exec_driver_sql(_TABLES)} >= kind.tables:
        raise Unavailable(f"{name} is not a file of AkiDB; put it back or restore it from a backup")


def _not_own(name: str) -> Unavailable:
    """Return the error for a file that is not of the kind."""
    return Unavailable(
        f"{name} is not a file of AkiDB, but of another program, or another file of AkiDB;"
        " it was not changed: choose another directory"
    )


def _tables(path: Path) -> set[str]:
    log = path.with_name(path.name + "-wal")
    is_settled = not log.exists() or not log.stat().st_size
    if is_settled:
        return _read_tables(path, "immutable=1")
    # Without its log first: reading that can leave an index of it behind.
    with suppress(library.DatabaseError):  # only partly moved from the log into the file
        if tables := _read_tables(path, "immutable=1"):
            return tables
    return _read_tables(path, "mode=ro")


def _read_tables(path: Path, options: str) -> set[str]:
    with closing(library.connect(uri(path, options), uri=True)) as reader:
        return {name for (name,) in reader.execute(_TABLES)}
