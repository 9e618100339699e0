"""The schema of a tenant's file, as numbered migration steps.

`PRAGMA user_version` is the number of applied steps. Released steps are never changed.
"""

from typing import NamedTuple

import sqlalchemy as sa

from akidb.documents.tables import FILE
from akidb.domain.errors import InvalidArgument
from akidb.sql import migrations
from akidb.sql.application_id import TENANT
from akidb.sql.schema_backups import SchemaBackups
from akidb.sql.sqlite import SqliteFile
from akidb.sql.sqlite_text import replaced_in_sqlite

_FIRST = (
    """
    CREATE TABLE control (
        singleton INTEGER PRIMARY KEY CHECK (singleton = 1),
        store_id BLOB NOT NULL CHECK (length(store_id) = 16),
        tenant_id BLOB NOT NULL CHECK (length(tenant_id) = 16),
        tenant_version INTEGER NOT NULL CHECK (tenant_version >= 0),
        tenant_status TEXT NOT NULL
            CHECK (tenant_status IN ('provisioning', 'active', 'suspended', 'decommissioned')),
        storage_quota_bytes INTEGER NOT NULL CHECK (storage_quota_bytes >= 0),
        storage_used_bytes INTEGER NOT NULL CHECK (storage_used_bytes >= 0)
    ) STRICT""",
    """
    CREATE TABLE collections (
        collection_key INTEGER PRIMARY KEY,
        collection_id BLOB NOT NULL UNIQUE CHECK (length(collection_id) = 16),
        database_id BLOB NOT NULL CHECK (length(database_id) = 16),
        version INTEGER NOT NULL CHECK (version >= 1),
        state TEXT NOT NULL CHECK (state IN ('creating', 'ready', 'deleting')),
        database_state TEXT NOT NULL
            CHECK (database_state IN ('provisioning', 'ready', 'migrating', 'deleting')),
        dimension INTEGER NOT NULL CHECK (dimension BETWEEN 16 AND 4096),
        metric TEXT NOT NULL CHECK (metric IN ('cosine', 'dot', 'l2')),
        max_document_count INTEGER NOT NULL CHECK (max_document_count >= 0),
        document_count INTEGER NOT NULL DEFAULT 0 CHECK (document_count >= 0),
        storage_used_bytes INTEGER NOT NULL DEFAULT 0 CHECK (storage_used_bytes >= 0),
        sequence INTEGER NOT NULL DEFAULT 0 CHECK (sequence >= 0),
        tombstone_floor INTEGER NOT NULL DEFAULT 0 CHECK (tombstone_floor BETWEEN 0 AND sequence)
    ) STRICT""",
    """
    CREATE TABLE documents (
        document_key INTEGER PRIMARY KEY,
        collection_key INTEGER NOT NULL REFERENCES collections (collection_key),
        id TEXT NOT NULL CHECK (length(CAST(id AS BLOB)) BETWEEN 1 AND 512),
        sequence INTEGER NOT NULL CHECK (sequence >= 1),
        size_bytes INTEGER NOT NULL CHECK (size_bytes >= 0),
        text TEXT,
        metadata TEXT NOT NULL,
        vector BLOB NOT NULL CHECK (length(vector) % 4 = 0),
        UNIQUE (collection_key, id),
        UNIQUE (collection_key, sequence)
    ) STRICT""",
    """
    CREATE TABLE tombstones (
        collection_key INTEGER NOT NULL REFERENCES collections (collection_key),
        sequence INTEGER NOT NULL CHECK (sequence >= 1),
        id TEXT NOT NULL,
        PRIMARY KEY (collection_key, sequence)
    ) STRICT, WITHOUT ROWID""",
    """
    CREATE TABLE remembered_answers (
        scope TEXT NOT NULL,
        key TEXT NOT NULL,
        fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32),
        answer BLOB NOT NULL,
        collection_key INTEGER NOT NULL REFERENCES collections (collection_key),
        created_at TEXT NOT NULL,
        PRIMARY KEY (scope, key)
    ) STRICT""",
    "CREATE INDEX remembered_answers_by_time ON remembered_answers (created_at)",
    "CREATE INDEX remembered_answers_by_collection ON remembered_answers (collection_key)",
)
_CHECKSUMS = (
    "ALTER TABLE documents ADD COLUMN content_checksum INTEGER",
    "ALTER TABLE documents ADD COLUMN vector_checksum INTEGER",
    "ALTER TABLE control ADD COLUMN answers_bytes INTEGER NOT NULL DEFAULT 0 CHECK (answers_bytes >= 0)",
    """
    UPDATE control SET answers_bytes =
        coalesce((SELECT sum(length(answer) + 512) FROM remembered_answers), 0)""",
    # What an answer takes beside itself, its keys, its fingerprint and its indexes, is 512 bytes.
    """
    CREATE TRIGGER remembered_answers_count AFTER INSERT ON remembered_answers FOR EACH ROW
    BEGIN
        UPDATE control SET answers_bytes = answers_bytes + (length(NEW.answer) + 512);
    END""",
    """
    CREATE TRIGGER remembered_answers_uncount AFTER DELETE ON remembered_answers FOR EACH ROW
    BEGIN
        UPDATE control SET answers_bytes = answers_bytes - (length(OLD.answer) + 512);
    END""",
)
_CHECKSUMS_BACK = (
    "DROP TRIGGER remembered_answers_count",
    "DROP TRIGGER remembered_answers_uncount",
    "ALTER TABLE control DROP COLUMN answers_bytes",
    "ALTER TABLE documents DROP COLUMN vector_checksum",
    "ALTER TABLE documents DROP COLUMN content_checksum",
)

_MORE_CHECKSUMS = (
    "ALTER TABLE tombstones ADD COLUMN checksum INTEGER",
    "ALTER TABLE remembered_answers ADD COLUMN checksum INTEGER",
)
_MORE_CHECKSUMS_BACK = (
    "ALTER TABLE remembered_answers DROP COLUMN checksum",
    "ALTER TABLE tombstones DROP COLUMN checksum",
)

_DELETION = "(coalesce(length(CAST({}.id AS BLOB)), 0) + 128)"
_DELETIONS_COUNTED = (
    "ALTER TABLE control ADD COLUMN deletions_bytes INTEGER NOT NULL DEFAULT 0 CHECK (deletions_bytes >= 0)",
    f"""
    UPDATE control SET deletions_bytes =
        coalesce((SELECT sum{_DELETION.format("tombstones")} FROM tombstones), 0)""",  # noqa: S608
    f"""
    CREATE TRIGGER tombstones_count AFTER INSERT ON tombstones FOR EACH ROW
    BEGIN
        UPDATE control SET deletions_bytes = deletions_bytes + {_DELETION.format("NEW")};
    END""",  # noqa: S608
    # Discarding damaged ones must not fail.
    f"""
    CREATE TRIGGER tombstones_uncount AFTER DELETE ON tombstones FOR EACH ROW
    BEGIN
        UPDATE control SET deletions_bytes = max(0, deletions_bytes - {_DELETION.format("OLD")});
    END""",  # noqa: S608
)
_DELETIONS_COUNTED_BACK = (
    "DROP TRIGGER tombstones_count",
    "DROP TRIGGER tombstones_uncount",
    "ALTER TABLE control DROP COLUMN deletions_bytes",
)

_ANY_DIMENSION, _LARGE_DIMENSION = "dimension BETWEEN 1 AND 4096", "dimension BETWEEN 16 AND 4096"
_DIMENSION, _OPTIONAL_DIMENSION = "dimension INTEGER NOT NULL", "dimension INTEGER"


class Step(NamedTuple):
    """One migration step: the upgrade statements, and the downgrade statements if possible."""

    since: str
    """The version of the metadata schema that introduced it."""
    forward: tuple[str, ...]
    back: tuple[str, ...] | None = None
    must_be_gone: tuple[str, str] | None = None
    """Rows that older versions cannot store: the statement that counts them, and their name."""


STEPS: tuple[Step, ...] = (
    Step("0001", _FIRST),
    Step("0007", _CHECKSUMS, _CHECKSUMS_BACK),
    Step("0007", _MORE_CHECKSUMS, _MORE_CHECKSUMS_BACK),
    Step("0007", _DELETIONS_COUNTED, _DELETIONS_COUNTED_BACK),
    Step(
        "0008",
        replaced_in_sqlite("collections", _LARGE_DIMENSION, _ANY_DIMENSION),
        replaced_in_sqlite("collections", _ANY_DIMENSION, _LARGE_DIMENSION),
    ),
    Step(
        "0009",
        replaced_in_sqlite("collections", f"{_DIMENSION} CHECK", f"{_OPTIONAL_DIMENSION} CHECK"),
        replaced_in_sqlite("collections", f"{_OPTIONAL_DIMENSION} CHECK", f"{_DIMENSION} CHECK"),
    ),
    # Older versions would take them for damaged.
    Step(
        "0009",
        (),
        (),
        ("SELECT count(*) FROM documents WHERE length(vector) = 0", "documents without a vector"),
    ),
)

control, collections, documents = FILE.control, FILE.collections, FILE.documents
tombstones, remembered_answers = FILE.tombstones, FILE.remembered_answers


def version(connection: sa.Connection) -> int:
    """Return the number of steps applied to the store."""
    return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())


def version_with(metadata_version: str) -> int:
    """Return the number of steps that belong to a version of the metadata schema."""
    return sum(step.since <= metadata_version for step in STEPS)


def bring_forward(file: SqliteFile, copies: SchemaBackups | None = None) -> None:
    """Apply all pending steps in one transaction, after taking a copy.

    Raises Unavailable for a schema newer than this program.
    """
    go(file, len(STEPS), copies)


def check_way(file: SqliteFile, target: int) -> bool:
    """Return whether there are steps to apply to reach `target`.

    Raises Unavailable for a schema newer than this program, InvalidArgument(`to`) for a step without a
    downgrade, and for rows that the older version cannot store.
    """
    with file.read() as connection:
        found = version(connection)
        if found > len(STEPS):
            raise migrations.newer(file.name, str(found), str(len(STEPS)))
        for number in range(found, target, -1):
            if STEPS[number - 1].back is None:
                raise InvalidArgument("to", f"{file.name}: there is no downgrade from version {number}")
        require_storable(connection, file.name, found, target)
    return found != target


def require_storable(connection: sa.Connection, name: str, found: int, target: int) -> None:
    """Raise InvalidArgument(`to`) for rows that an older version cannot store, also on PostgreSQL."""
    for step in STEPS[target:found]:
        if step.must_be_gone is not None:
            statement, what = step.must_be_gone
            number = connection.exec_driver_sql(statement).scalar_one()
            if number:
                reason = f"{what}: there are {number}, those of deleted collections included"
                raise InvalidArgument("to", f"{name}: the older version cannot store {reason}")


def go(file: SqliteFile, target: int, copies: SchemaBackups | None = None) -> None:
    """Migrate to a version, up or down, atomically. Raises the errors of `check_way`."""
    if not check_way(file, target):
        return
    with file.read() as connection:
        found = version(connection)
    if found and copies is not None:
        copies.take(file, str(found))
    statements = [statement for step in STEPS[found:target] for statement in step.forward]
    statements += [statement for step in reversed(STEPS[target:found]) for statement in step.back or ()]
    with file.migration() if found else file.write() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
        connection.exec_driver_sql(f"PRAGMA user_version = {target}")
        connection.exec_driver_sql(f"PRAGMA application_id = {TENANT.application_id}")
