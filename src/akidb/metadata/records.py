"""Raw rows of the metadata store, read in parts for archives and written from them."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from itertools import islice
from typing import Any

import msgspec
import sqlalchemy as sa

from akidb.domain.errors import AlreadyExists, Damaged, InvalidArgument
from akidb.domain.ids import CollectionId, EntityId, TenantId
from akidb.domain.names import fold_name
from akidb.metadata import tables
from akidb.ports.archive import RECORDS, Record, Rows
from akidb.ports.rows import Damages
from akidb.sql.damage import damaged_row, shown_key
from akidb.sql.errors import violated
from akidb.sql.prepared import Prepared

ROWS_PER_PART = 128
"""Bounds memory: the JSON object of a row may take a megabyte."""
_TABLES: Mapping[str, sa.Table] = {name: tables.schema.tables[name] for name in RECORDS}
_REFERRING = {"databases", "collections", "users", "tenant_stores", "legacy_manifests"}
_UNIQUE = ("external_id", "slug", "name", "email")


def _statement(name: str, *, of_tenant: bool) -> Prepared:
    table = _TABLES[name]
    statement = sa.select(*(table.c[field] for field in RECORDS[name].__struct_fields__))
    if of_tenant:
        statement = statement.where(table.c.tenant_id == sa.bindparam("tenant_id"))
    return Prepared(statement.order_by(*table.primary_key.columns), RECORDS[name])


_STATEMENTS = {
    (name, of_tenant): _statement(name, of_tenant=of_tenant)
    for name, table in _TABLES.items()
    for of_tenant in (False, True)
    if not of_tenant or "tenant_id" in table.c
}


class SqlMetadataRecords:
    """`akidb.ports.archive.MetadataRecords`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def read(self, table: str, tenant_id: TenantId | None = None, damaged: Damages = None) -> Iterator[Rows]:
        statement = _STATEMENTS[table, tenant_id is not None]
        found = statement.sound(self._connection, damaged=damaged, at_once=ROWS_PER_PART, tenant_id=tenant_id)
        with closing(found) as rows:
            while some := list(islice(rows, ROWS_PER_PART)):
                yield Rows(table, some)

    def strays(self) -> Iterator[Damaged]:
        """Yield an error for each row that refers to a missing one, and for each tenant that it may be of."""
        if self._connection.dialect.name != "sqlite":
            return
        for table, rowid, _parent, _key in self._connection.exec_driver_sql("PRAGMA foreign_key_check").all():
            if rowid is not None and table in _REFERRING:
                yield from self._stray(table, rowid)

    def _stray(self, name: str, rowid: int) -> Iterator[Damaged]:
        table = tables.schema.tables[name]
        (key,) = (column.name for column in table.primary_key.columns)
        run = self._connection.exec_driver_sql
        statement = f"SELECT CAST({key} AS BLOB), CAST(tenant_id AS BLOB) FROM {name} WHERE rowid = ?"  # noqa: S608 - names of the schema
        (id, own) = run(statement, (rowid,)).one()
        yield damaged_row(name, shown_key(id), shown_key(own), "tenant_id")
        if name == "collections":
            by_database = (
                "SELECT CAST(tenant_id AS BLOB) FROM databases WHERE database_id ="
                " (SELECT database_id FROM collections WHERE rowid = ?)"
            )
            for (of_database,) in run(by_database, (rowid,)):
                yield damaged_row(name, shown_key(id), shown_key(of_database), "tenant_id")

    def write(self, rows: Rows) -> None:
        """Insert rows. If this raises, the caller must roll back the transaction."""
        if not rows.rows:
            return
        values = [msgspec.structs.asdict(row) for row in rows.rows]
        if rows.table == "tenants":
            values = [{**row, "name_folded": fold_name(row["name"])} for row in values]
        try:
            self._connection.execute(sa.insert(_TABLES[rows.table]), values)
        except sa.exc.IntegrityError as error:
            raise _refusal(rows, error) from error

    def mend(self, tenant_id: TenantId, collection_id: CollectionId, field: str, value: Any) -> None:
        table = tables.collections
        self._connection.execute(
            sa.update(table)
            .where(table.c.tenant_id == tenant_id, table.c.collection_id == collection_id)
            .values({field: value})
        )

    def known_ids(self, rows: Rows) -> list[tuple[str, str]]:
        """Return the IDs of these rows that are already taken or purged, each with which of the two."""
        (key,) = _TABLES[rows.table].primary_key.columns
        ids = {getattr(row, key.name) for row in rows.rows}
        taken = self._connection.execute(sa.select(key).where(key.in_(ids))).scalars()
        found = [(str(entity_id), "taken") for entity_id in taken]
        purged = tables.purged.c.entity_id
        raw = {entity_id.raw: entity_id for entity_id in ids}
        gone = self._connection.execute(sa.select(purged).where(purged.in_(raw))).scalars()
        return sorted([*found, *((str(raw[bytes(entity_id)]), "purged") for entity_id in gone)])

    def was_purged(self, *ids: EntityId) -> bool:
        purged = tables.purged.c.entity_id
        found = self._connection.execute(sa.select(purged).where(purged.in_([id.raw for id in ids])))
        return found.first() is not None

    def is_empty(self) -> bool:
        return not any(
            self._connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first()
            for table in _TABLES.values()
        )


def _refusal(rows: Rows, error: sa.exc.IntegrityError) -> Exception:
    """Return an error that names the clashing field, or else the violated constraint."""
    constraint = violated(error)
    entity = rows.table.removesuffix("s")
    for field in _UNIQUE:
        if constraint.endswith(f"{rows.table}.{field}") or constraint == f"{rows.table}_{field}_key":
            return AlreadyExists(entity, field, _clashing(rows.rows, field))
    return InvalidArgument(f"archive.{rows.table}", f"violates a constraint: {constraint or 'foreign key'}")


def _clashing(rows: Any, field: str) -> str:
    """Return the value if there is one row; of several, the database does not say which clashed."""
    values: list[Record] = list(rows)
    return str(getattr(values[0], field)) if len(values) == 1 else "in the archive"
