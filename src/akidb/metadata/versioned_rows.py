"""Row handling shared by tenants, databases and collections: versions, deletion, pages."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import msgspec
import sqlalchemy as sa
from msgspec import UNSET

from akidb.domain.documents import Page
from akidb.domain.entities import Collection, Database, Tenant
from akidb.domain.errors import AlreadyExists, Damaged, NotFound, PreconditionFailed
from akidb.domain.ids import CollectionId, DatabaseId, EntityId, TenantId, UserId
from akidb.domain.lifecycle import PERMITTED, Access, DatabaseState, State, TenantStatus
from akidb.domain.names import fold_name
from akidb.metadata.tables import collections, databases, purged, remembered_answers, tenants
from akidb.ports.rows import Damages
from akidb.sql.errors import violated
from akidb.sql.prepared import Prepared, Readable
from akidb.sql.types import JsonObject

EntityT = TypeVar("EntityT", Tenant, Database, Collection)


_TABLES: dict[type, sa.Table] = {Tenant: tenants, Database: databases, Collection: collections}
_STATES: dict[str, tuple[type[State], str]] = {
    "tenants": (TenantStatus, "status"),
    "databases": (DatabaseState, "state"),
}
_STATE = {Tenant: "status", Database: "state", Collection: "state"}
_DELETED = {Tenant: "decommissioned", Database: "deleting", Collection: "deleting"}


def columns(kind: type) -> list[sa.Column[Any]]:
    """Return the columns of an entity, in field order."""
    table = _TABLES[kind]
    return [table.c[name] for name in kind.__struct_fields__]  # type: ignore[attr-defined]


def columns_without_metadata(kind: type) -> list[sa.ColumnElement[Any]]:
    """Return the columns of an entity, with an empty object as its metadata."""
    empty = sa.literal_column("'{}'", JsonObject()).label("metadata")
    return [empty if column.name == "metadata" else column for column in columns(kind)]


def values(entity: Tenant | Database | Collection) -> dict[str, Any]:
    """Return an entity as statement parameters, with the derived columns of its row."""
    found = msgspec.structs.asdict(entity)
    if isinstance(entity, Tenant):
        found["name_folded"] = fold_name(entity.name)
    return found


def entity_name(kind: type) -> str:
    """Return the name used in errors."""
    return kind.__name__.lower()


def insert(connection: sa.Connection, entity: Tenant | Database | Collection) -> None:
    """Insert a row. Raises AlreadyExists with the clashing field."""
    try:
        _INSERTS[type(entity)].run(connection, values(entity))
    except sa.exc.IntegrityError as error:
        raise _clash(connection, entity, error) or error from error


def update(connection: sa.Connection, entity: Tenant | Database | Collection) -> None:
    """Replace the version before this one.

    Raises PreconditionFailed if the row has another version, AlreadyExists if a name is taken.
    """
    kind = type(entity)
    key = _key(kind)
    statement = (
        sa.update(_TABLES[kind])
        .where(key == getattr(entity, key.name), _TABLES[kind].c.version == entity.version - 1)
        .values({n: v for n, v in values(entity).items() if n != key.name})
    )
    try:
        result = connection.execute(statement)
    except sa.exc.IntegrityError as error:
        raise _clash(connection, entity, error) or damaged(
            entity_name(kind), getattr(entity, key.name), entity.tenant_id, error
        ) from None
    if result.rowcount != 1:
        _raise_stale(connection, entity, entity.version - 1)


def delete(connection: sa.Connection, entity: Tenant | Database | Collection, now: datetime) -> None:
    """Mark a row as deleted, and keep its previous state.

    `deleted_at` is never before the last change: after a clock step back, the sweeper would purge it at once.
    """
    kind = type(entity)
    now = max(now, entity.updated_at)
    state = _TABLES[kind].c[_STATE[kind]]
    _change(
        connection,
        entity,
        now,
        {"state_before_deletion": state, state.name: _DELETED[kind], "deleted_at": now},
    )


def restore(connection: sa.Connection, entity: EntityT, now: datetime) -> EntityT:
    """Undo a deletion, and return the restored entity."""
    kind = type(entity)
    table = _TABLES[kind]
    before = table.c.state_before_deletion
    _change(
        connection, entity, now, {_STATE[kind]: before, "state_before_deletion": None, "deleted_at": None}
    )
    restored: EntityT = _BY_ID[kind].first(connection, id=getattr(entity, _key(kind).name))
    return restored


def purge(connection: sa.Connection, kind: type, entity_id: Any, now: datetime) -> None:
    """Delete a row and, by cascade, all below it; record the ID. Raises NotFound if there is none."""
    if _REMOVALS[kind].run(connection, {"id": entity_id}) != 1:
        raise NotFound(entity_name(kind), entity_id)
    _REMEMBER.run(connection, {"entity_id": entity_id.raw, "entity": entity_name(kind), "purged_at": now})


def forget_answers(
    connection: sa.Connection, tenant_id: TenantId, entity_id: DatabaseId | CollectionId | UserId
) -> None:
    """Delete the remembered answers that contain the ID, and so the names, of a purged entity."""
    t = remembered_answers
    mention = t.c.answer.bool_op("LIKE")(b"%" + str(entity_id).encode() + b"%")
    connection.execute(sa.delete(t).where(t.c.tenant_id == tenant_id, mention))


def expired(statement: sa.Select[Any], table: sa.Table) -> sa.Select[Any]:
    """Restrict a statement to at most `rows` rows deleted by `before`, oldest deletion first.

    SQLite has a single writer and does not lock rows.
    """
    before = sa.bindparam("before", type_=table.c.deleted_at.type)
    return (
        statement.where(table.c.deleted_at <= before)
        .order_by(table.c.deleted_at)
        .limit(sa.bindparam("rows"))
        .with_for_update(of=table, skip_locked=True)
    )


def takes_changes(table: sa.Table) -> sa.ColumnElement[bool]:
    """Return the condition that the state of a row permits metadata writes below it."""
    kind, state = _STATES[table.name]
    writable = [each for each, permitted in PERMITTED[kind].items() if Access.METADATA_WRITE in permitted]
    return table.c[state].in_([sa.literal(each, table.c[state].type) for each in writable])


def readable_page(read: Callable[[int], Readable], limit: int, cursor_of: Callable[[Any], str]) -> Page[Any]:
    """Return a page of the readable rows, and how many were left out before its end.

    `read(n)` returns n rows, with None for a damaged one, and fewer if there are no more, or none that fit.
    """
    number = limit + 1
    while True:
        found = read(number)
        sound = [item for item in found if item is not None]
        if len(sound) > limit or found.cut or len(found) < number:
            break
        number += len(found) - len(sound)
    items, damaged = sound[:limit], len(found) - len(sound)
    more = found.cut or len(sound) > limit
    if more and damaged:  # those after the last item are counted on the next page
        damaged = found.index(items[-1]) + 1 - len(items)
    return Page(items=items, next_cursor=cursor_of(items[-1]) if more else None, damaged=damaged or UNSET)


def sound_rows(
    statement: Prepared, connection: sa.Connection, limit: int, damaged: Damages, **parameters: Any
) -> list[Any]:
    """Return the first `limit` rows that are not damaged; `damaged` is called with the errors of others."""
    number = limit
    while True:
        errors: list[Damaged] = []
        found = statement.readable(connection, damaged=errors.append, rows=number, **parameters)
        sound = [item for item in found if item is not None]
        if len(sound) >= limit or len(found) < number:
            break
        number = limit + len(errors)
    for error in errors:
        if damaged is not None:
            damaged(error)
    return sound


def number(table: sa.Table, *conditions: sa.ColumnElement[bool]) -> dict[bool, Prepared]:
    """Return statements that count the live rows (False) and the deleted rows (True).

    Few rows are deleted, so they are subtracted from the total: both counts need only an index.
    """

    def counted(*more: sa.ColumnElement[bool]) -> sa.ScalarSelect[int]:
        return sa.select(sa.func.count()).select_from(table).where(*conditions, *more).scalar_subquery()

    deleted = counted(live(table, deleted=True))
    return {False: Prepared(sa.select(counted() - deleted)), True: Prepared(sa.select(deleted))}


def live(table: sa.Table, *, deleted: bool) -> sa.ColumnElement[bool]:
    """Return the condition for live rows, or for deleted ones."""
    return table.c.deleted_at.is_not(None) if deleted else table.c.deleted_at.is_(None)


def _key(kind: type) -> sa.Column[Any]:
    return _TABLES[kind].c[f"{entity_name(kind)}_id"]


def insertion(kind: type, table: sa.Table) -> Prepared:
    """Return the INSERT statement of an entity."""
    names: tuple[str, ...] = kind.__struct_fields__  # type: ignore[attr-defined]
    if kind is Tenant:
        names += ("name_folded",)
    return Prepared(
        sa.insert(table).values({name: sa.bindparam(name, type_=table.c[name].type) for name in names})
    )


_BY_ID = {
    kind: Prepared(sa.select(*columns(kind)).where(_key(kind) == sa.bindparam("id")), kind)
    for kind in _TABLES
}
_REMOVALS = {
    kind: Prepared(sa.delete(table).where(_key(kind) == sa.bindparam("id")))
    for kind, table in _TABLES.items()
}
_REMEMBER = Prepared(
    sa.insert(purged).values({c.name: sa.bindparam(c.name, type_=c.type) for c in purged.columns})
)
_INSERTS = {kind: insertion(kind, table) for kind, table in _TABLES.items()}


def _change(
    connection: sa.Connection, entity: Tenant | Database | Collection, now: datetime, new: dict[str, Any]
) -> None:
    kind = type(entity)
    key = _key(kind)
    result = connection.execute(
        sa.update(_TABLES[kind])
        .where(key == getattr(entity, key.name), _TABLES[kind].c.version == entity.version)
        .values(version=entity.version + 1, updated_at=max(now, entity.updated_at), **new)
    )
    if result.rowcount != 1:
        _raise_stale(connection, entity, entity.version)


def _raise_stale(connection: sa.Connection, entity: Tenant | Database | Collection, expected: int) -> None:
    kind = type(entity)
    key = _key(kind)
    entity_id = getattr(entity, key.name)
    actual = connection.scalar(sa.select(_TABLES[kind].c.version).where(key == entity_id))
    if actual is None:
        raise NotFound(entity_name(kind), entity_id)
    raise PreconditionFailed(entity_name(kind), expected, actual)


def _clash(
    connection: sa.Connection, entity: Tenant | Database | Collection, error: sa.exc.IntegrityError
) -> AlreadyExists | None:
    """Return AlreadyExists with the clashing field, None for another violation."""
    kind = type(entity)
    constraint, table = violated(error), _TABLES[kind].name
    for field in ("external_id", "slug", "name"):
        # SQLite names the columns, as in `databases.tenant_id, databases.name`; PostgreSQL the constraint.
        if constraint.endswith(f"{table}.{field}") or constraint == f"{table}_{field}_key":
            if field == "slug" and _is_external_id_taken(connection, entity):
                field = "external_id"  # noqa: PLW2901
            return AlreadyExists(entity_name(kind), field, getattr(entity, field))
    return None


def damaged(entity: str, entity_id: EntityId, tenant_id: TenantId, error: sa.exc.IntegrityError) -> Exception:
    """Return Damaged for an update that breaks a rule of the schema: the values that it sets are checked."""
    field = violated(error) or None
    return Damaged.row(entity, str(entity_id), tenant_id=str(tenant_id), field=field)


def _is_external_id_taken(connection: sa.Connection, entity: Tenant | Database | Collection) -> bool:
    """Return whether the external ID clashes too: PostgreSQL checks it before the slug, SQLite after."""
    if connection.dialect.name != "sqlite" or not isinstance(entity, Tenant) or entity.external_id is None:
        return False
    t = tenants.c
    others = sa.select(
        sa.exists().where(t.external_id == entity.external_id, t.tenant_id != entity.tenant_id)
    )
    return bool(connection.scalar(others))
