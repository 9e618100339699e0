"""Damage of the rows that say what a store holds: its control row, and those of its collections.

They have no checksums: their values follow from the metadata and from the documents, with which
`akidb doctor` compares them. Here are the values that cannot be, and the errors that follow from them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard

import sqlalchemy as sa

from akidb.documents.statements import TenantSql
from akidb.domain.entities import MAX_DIMENSION, MIN_DIMENSION, Metric
from akidb.domain.errors import AkiDBError, Internal, Unavailable
from akidb.domain.ids import CollectionId
from akidb.domain.lifecycle import CollectionState, DatabaseState, TenantStatus
from akidb.domain.names import MAX_SEQUENCE
from akidb.observe.interrupts import is_of_handler
from akidb.sql.database import driver_of
from akidb.sql.prepared import lenient


def _is_id(value: object) -> bool:
    return type(value) is bytes and len(value) == 16


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_sequence(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_SEQUENCE


def is_dimension(value: object) -> TypeGuard[int]:
    """Return whether a collection may have this dimension; it may also have none."""
    return type(value) is int and MIN_DIMENSION <= value <= MAX_DIMENSION


def _is_one_of(kind: Any) -> Callable[[object], bool]:
    words = frozenset(str(word.value) for word in kind)
    return lambda value: type(value) is str and value in words


_CONTROL: dict[str, Callable[[object], bool]] = {
    "singleton": lambda value: value == 1,
    "store_id": _is_id,
    "tenant_id": _is_id,
    "tenant_version": _is_count,
    "tenant_status": _is_one_of(TenantStatus),
    "storage_quota_bytes": _is_count,
    "storage_used_bytes": _is_count,
    "answers_bytes": _is_count,
    "deletions_bytes": _is_count,
}
_COLLECTION: dict[str, Callable[[object], bool]] = {
    "collection_id": _is_id,
    "database_id": _is_id,
    "version": lambda value: _is_count(value) and value != 0,
    "state": _is_one_of(CollectionState),
    "database_state": _is_one_of(DatabaseState),
    "dimension": lambda value: value is None or is_dimension(value),
    "metric": _is_one_of(Metric),
    "max_document_count": _is_count,
    "document_count": _is_count,
    "storage_used_bytes": _is_count,
    "sequence": _is_sequence,
    "tombstone_floor": _is_sequence,
}
KEPT_TWICE: Mapping[str, Callable[[Any], Any]] = {
    "dimension": int,
    "metric": Metric,
    "max_document_count": int,
    "version": int,
}
"""Columns of collections that the metadata have too, with their types there."""
_MISSHAPEN = (
    "SELECT 1 FROM documents JOIN collections USING (collection_key)"
    " WHERE length(vector) NOT IN (0, 4 * coalesce(dimension, 0)) LIMIT 1"
)


def control_faults(connection: sa.Connection) -> list[str]:
    """Return the values of the control row that cannot be; none on PostgreSQL, whose columns have types."""
    if connection.dialect.name != "sqlite":
        return []
    return [
        f"the control row is damaged: {name}"
        for _key, name in _wrong(connection, "control", _CONTROL, "singleton")
    ]


def faults(connection: sa.Connection) -> list[str]:
    """Return the values of the control row and of each collection that cannot be; none on PostgreSQL."""
    if connection.dialect.name != "sqlite":
        return []
    found = control_faults(connection)
    names = collection_ids(connection)
    driver = driver_of(connection)
    found += [
        f"collection {names.get(key) or f'in row {key}'} is damaged: tombstone_floor"
        for (key,) in driver.execute(
            "SELECT collection_key FROM collections WHERE tombstone_floor > sequence"
        ).fetchall()
    ]
    return found + [
        f"collection {names.get(key) or f'in row {key}'} is damaged: {name}"
        for key, name in _wrong(connection, "collections", _COLLECTION, "collection_key")
    ]


def _wrong(
    connection: sa.Connection, table: str, checks: dict[str, Callable[[object], bool]], key: str
) -> list[tuple[Any, str]]:
    statement = f"SELECT {key}, {', '.join(checks)} FROM {table} ORDER BY {key}"  # noqa: S608 - from above
    with lenient(connection):
        rows = driver_of(connection).execute(statement).fetchall()
    return [
        (row[0], name)
        for row in rows
        for (name, check), value in zip(checks.items(), row[1:], strict=True)
        if not check(value)
    ]


def kept_twice(connection: sa.Connection, collection_id: CollectionId) -> dict[str, Any]:
    """Return what a SQLite file holds of a collection that the metadata hold too, but for damaged values."""
    statement = f"SELECT {', '.join(KEPT_TWICE)} FROM collections WHERE collection_id = ?"  # noqa: S608 - from above
    with lenient(connection):
        row = driver_of(connection).execute(statement, (collection_id.raw,)).fetchone()
    found = zip(KEPT_TWICE.items(), row or (), strict=False)
    return {
        name: None if value is None else kind(value)
        for (name, kind), value in found
        if _COLLECTION[name](value)
    }


def collection_ids(connection: sa.Connection) -> dict[Any, CollectionId]:
    """Return the IDs of the collections of a SQLite file by key, but for damaged ones."""
    rows = driver_of(connection).execute("SELECT collection_key, collection_id FROM collections").fetchall()
    return {key: CollectionId(raw) for key, raw in rows if _is_id(raw)}


def explanation(
    name: str,
    connection: sa.Connection,
    sql: TenantSql,
    error: Exception,
    collection_id: CollectionId | None = None,
) -> Unavailable | None:
    """Return the error to raise for an unexpected one, if damage of these rows explains it.

    `name` is that of the store, `collection_id` of what was used. Its statements violate a constraint only if
    its counters are wrong.
    """
    if sql.tables.shared or is_of_handler(error):
        return None
    if isinstance(error, AkiDBError) and not isinstance(error, Internal):
        return None
    if isinstance(error, sa.exc.DBAPIError) and not isinstance(error, sa.exc.IntegrityError):
        return None
    found: Sequence[str] = faults(connection)
    if not found and driver_of(connection).execute(_MISSHAPEN).fetchone():
        found = ["the dimension of a collection is not that of its vectors"]
    if not found and (isinstance(error, sa.exc.IntegrityError) or type(error).__name__ == "IntegrityError"):
        whose = "its counters" if collection_id is None else f"the counters of collection {collection_id}"
        found = [f"{whose} do not match its rows"]
    return Unavailable(f"{name}: {found[0]}; run `akidb doctor`") if found else None
