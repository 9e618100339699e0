"""Table definitions of tenant stores: in one file per tenant, or shared on PostgreSQL.

Shared tables have the tenant ID in every row and are partitioned by its hash. The conditions that restrict
a query to one tenant are defined here, in `own`, and nowhere else.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.types import UserDefinedType

from akidb.domain.entities import Metric
from akidb.domain.ids import CollectionId, DatabaseId, StoreId, TenantId
from akidb.domain.lifecycle import CollectionState, DatabaseState, TenantStatus
from akidb.sql.types import Converter, Enumerated, Id, Instant


class _Values(UserDefinedType[Sequence[Any]]):
    """Many values in one parameter: an array on PostgreSQL, a JSON array on SQLite."""

    cache_ok = True

    def bind_processor(self, dialect: sa.Dialect) -> Converter:
        """Encode the array."""
        if dialect.name == "postgresql":
            return list
        return lambda values: msgspec.json.encode(values).decode()


DELETION_BYTES = 128
"""What a tombstone takes beside its id, with its index on PostgreSQL; triggers count it."""


class Tables:
    """The five tables of a tenant store."""

    def __init__(self, *, shared: bool) -> None:
        self.shared = shared
        self.schema = sa.MetaData()
        self.control = self._table(
            "control",
            *([] if shared else [sa.Column("singleton", sa.Integer, primary_key=True)]),
            sa.Column("store_id", Id(StoreId), nullable=False),
            *([] if shared else [sa.Column("tenant_id", Id(TenantId), nullable=False)]),
            sa.Column("tenant_version", sa.BigInteger, nullable=False),
            sa.Column("tenant_status", Enumerated(TenantStatus), nullable=False),
            sa.Column("storage_quota_bytes", sa.BigInteger, nullable=False),
            sa.Column("storage_used_bytes", sa.BigInteger, nullable=False),
            sa.Column("answers_bytes", sa.BigInteger, nullable=False, server_default="0"),
            sa.Column("deletions_bytes", sa.BigInteger, nullable=False, server_default="0"),
        )
        self.collections = self._table(
            "collections",
            sa.Column("collection_key", sa.BigInteger, primary_key=True, server_default=sa.FetchedValue()),
            sa.Column("collection_id", Id(CollectionId), nullable=False, unique=True),
            sa.Column("database_id", Id(DatabaseId), nullable=False),
            sa.Column("version", sa.BigInteger, nullable=False),
            sa.Column("state", Enumerated(CollectionState), nullable=False),
            sa.Column("database_state", Enumerated(DatabaseState), nullable=False),
            sa.Column("dimension", sa.Integer),
            sa.Column("metric", Enumerated(Metric), nullable=False),
            sa.Column("max_document_count", sa.BigInteger, nullable=False),
            sa.Column("document_count", sa.BigInteger, nullable=False, server_default="0"),
            sa.Column("storage_used_bytes", sa.BigInteger, nullable=False, server_default="0"),
            sa.Column("sequence", sa.BigInteger, nullable=False, server_default="0"),
            sa.Column("tombstone_floor", sa.BigInteger, nullable=False, server_default="0"),
        )
        self.documents = self._table(
            "documents",
            sa.Column("document_key", sa.BigInteger, primary_key=True, server_default=sa.FetchedValue()),
            sa.Column("collection_key", sa.BigInteger, nullable=False),
            sa.Column("id", sa.Text, nullable=False),
            sa.Column("sequence", sa.BigInteger, nullable=False),
            sa.Column("size_bytes", sa.BigInteger, nullable=False),
            sa.Column("text", sa.Text),
            sa.Column("metadata", sa.Text, nullable=False),
            sa.Column("vector", sa.LargeBinary, nullable=False),
            sa.Column("content_checksum", sa.BigInteger),
            sa.Column("vector_checksum", sa.BigInteger),
        )
        self.tombstones = self._table(
            "tombstones",
            sa.Column("collection_key", sa.BigInteger, primary_key=True),
            sa.Column("sequence", sa.BigInteger, primary_key=True),
            sa.Column("id", sa.Text, nullable=False),
            sa.Column("checksum", sa.BigInteger),
        )
        self.remembered_answers = self._table(
            "remembered_answers",
            sa.Column("scope", sa.Text, primary_key=True),
            sa.Column("key", sa.Text, primary_key=True),
            sa.Column("fingerprint", sa.LargeBinary, nullable=False),
            sa.Column("answer", sa.LargeBinary, nullable=False),
            sa.Column("collection_key", sa.BigInteger, nullable=False),
            sa.Column("created_at", Instant, nullable=False),
            sa.Column("checksum", sa.BigInteger),
        )

    def _table(self, name: str, *columns: sa.Column[Any]) -> sa.Table:
        tenant = [sa.Column("tenant_id", Id(TenantId), primary_key=True)] if self.shared else []
        return sa.Table(name, self.schema, *tenant, *columns)

    def own(self, *tables: sa.Table) -> list[sa.ColumnElement[bool]]:
        """Return the conditions that restrict a query on these tables to one tenant."""
        if not self.shared:
            return []
        return [table.c.tenant_id == sa.bindparam("own_tenant_id", type_=Id(TenantId)) for table in tables]

    @property
    def deletion_bytes(self) -> sa.ColumnElement[int]:
        """What a tombstone takes, as the triggers count it."""
        id = self.tombstones.c.id
        size: sa.ColumnElement[int]
        size = sa.func.octet_length(id) if self.shared else sa.func.length(sa.cast(id, sa.BLOB))
        return (sa.func.coalesce(size, 0, type_=sa.BigInteger) + DELETION_BYTES).label("bytes")

    def any_of(self, column: sa.Column[Any], parameter: str) -> sa.ColumnElement[bool]:
        """Return the condition that the column is in a parameter, a sequence of any length."""
        if self.shared:
            return column == sa.any_(sa.bindparam(parameter, type_=_Values()))
        values = sa.func.json_each(sa.bindparam(parameter, type_=_Values())).table_valued("value")
        return column.in_(sa.select(values.c.value))


FILE = Tables(shared=False)
"""Tables of a SQLite file, which holds one tenant."""
SHARED = Tables(shared=True)
"""Shared tables on PostgreSQL."""
