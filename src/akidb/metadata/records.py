"""Raw rows of the metadata store, read in parts for archives and written from them."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa

from akidb.domain.errors import AlreadyExists, InvalidArgument
from akidb.domain.ids import EntityId, TenantId
from akidb.domain.names import fold_name
from akidb.metadata import tables
from akidb.ports.archive import RECORDS, Record, Rows
from akidb.sql.errors import violated

ROWS_PER_PART = 128
"""Bounds memory: the JSON object of a row may take a megabyte."""
_TABLES: Mapping[str, sa.Table] = {name: tables.schema.tables[name] for name in RECORDS}
_UNIQUE = ("external_id", "slug", "name", "email")


def _columns(name: str) -> list[sa.Column[Any]]:
    return [_TABLES[name].c[field] for field in RECORDS[name].__struct_fields__]


class SqlMetadataRecords:
    """`akidb.ports.archive.MetadataRecords`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def read(self, table: str, tenant_id: TenantId | None = None) -> Iterator[Rows]:
        kind = RECORDS[table]
        (key,) = _TABLES[table].primary_key.columns
        statement = sa.select(*_columns(table)).order_by(key).limit(ROWS_PER_PART)
        if tenant_id is not None:
            statement = statement.where(_TABLES[table].c.tenant_id == tenant_id)
        after: Any = None
        while True:
            page = statement if after is None else statement.where(key > after)
            rows = [kind(**row._mapping) for row in self._connection.execute(page)]  # noqa: SLF001
            if rows:
                yield Rows(table, rows)
            if len(rows) < ROWS_PER_PART:
                return
            after = getattr(rows[-1], key.name)

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
