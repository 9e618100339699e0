"""1.x manifests in SQL, and the bulk import and export of their tenants."""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from msgspec.structs import asdict

from akidb.domain.entities import AuditEntry, Database, Tenant
from akidb.domain.ids import TenantId
from akidb.domain.lifecycle import DatabaseState, TenantStatus
from akidb.metadata import versioned_rows as rows
from akidb.metadata.tables import audit_entries, databases, legacy_manifests, purged, tenants
from akidb.ports.migration import (
    DEFAULT_DATABASE,
    ExportedTenant,
    ImportedTenant,
    KnownTenant,
    LegacyManifest,
)
from akidb.sql.prepared import Prepared

ROWS_AT_ONCE = 500
"""Bounds memory: a JSON object or manifest may take a megabyte; most take a few hundred bytes."""

_MANIFEST = [legacy_manifests.c[name] for name in LegacyManifest.__struct_fields__]
_KEY: sa.Column[Any] = legacy_manifests.c.tenant_id
_TENANT = rows.columns(Tenant)
_BEFORE = tenants.c.state_before_deletion

_ADD_TENANT = Prepared(
    sa.insert(tenants).values(
        {
            column.name: sa.bindparam(column.name, type_=column.type)
            for column in (*_TENANT, tenants.c.name_folded, _BEFORE)
        }
    )
)
_ADD_DATABASE = rows.insertion(Database, databases)
_ADD_MANIFEST = rows.insertion(LegacyManifest, legacy_manifests)
_ADD_ENTRY = rows.insertion(AuditEntry, audit_entries)
_WITH_MANIFEST = tenants.join(legacy_manifests, tenants.c.tenant_id == _KEY, isouter=True)


def _paged(statement: sa.Select[Any], key: sa.Column[Any], *kinds: type) -> dict[bool, Prepared]:
    """Return statements for the first page (False) and later pages (True), in tenant ID order."""
    statement = statement.order_by(key).limit(ROWS_AT_ONCE)
    after = key > sa.bindparam("after", type_=key.type)
    return {False: Prepared(statement, *kinds), True: Prepared(statement.where(after), *kinds)}


_WRITTEN = _paged(
    sa.select(*_TENANT, *_MANIFEST)
    .select_from(legacy_manifests.join(tenants, tenants.c.tenant_id == _KEY))
    .where(legacy_manifests.c.migrated_at == sa.bindparam("migrated_at")),
    _KEY,
    Tenant,
    LegacyManifest,
)
_ALL = _paged(sa.select(*_TENANT, *_MANIFEST).select_from(_WITH_MANIFEST), tenants.c.tenant_id)
_PATHS = _paged(
    sa.select(tenants.c.tenant_id, tenants.c.slug, legacy_manifests.c.path).select_from(_WITH_MANIFEST),
    tenants.c.tenant_id,
)


class SqlLegacyManifests:
    """`akidb.ports.migration.LegacyManifests`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def hold(self) -> None:
        """Block other writers of tenants until the transaction ends; SQLite has a single writer anyway.

        Wait for transactions that have locked a tenant first, before this one holds any lock: no deadlock.
        """
        if self._connection.dialect.name == "postgresql":
            self._connection.exec_driver_sql("LOCK TABLE tenants IN EXCLUSIVE MODE")

    def standing(self, tenant_ids: Sequence[TenantId]) -> dict[TenantId, KnownTenant]:
        gone = sa.select(purged.c.entity_id).where(
            purged.c.entity == "tenant", purged.c.entity_id.in_([each.raw for each in tenant_ids])
        )
        found = {TenantId(bytes(raw)): KnownTenant(None, None) for (raw,) in self._connection.execute(gone)}
        known = (
            sa.select(tenants.c.tenant_id, tenants.c.slug, legacy_manifests.c.sha256)
            .select_from(_WITH_MANIFEST)
            .where(tenants.c.tenant_id.in_(tenant_ids))
        )
        for tenant_id, slug, sha256 in self._connection.execute(known):
            found[tenant_id] = KnownTenant(slug, sha256)
        return found

    def taken_slugs(self, slugs: Sequence[str]) -> set[str]:
        statement = sa.select(tenants.c.slug).where(tenants.c.slug.in_(slugs))
        return set(self._connection.execute(statement).scalars())

    def add(self, arrivals: Sequence[ImportedTenant]) -> None:
        run = self._connection
        _ADD_TENANT.insert_many(run, (_tenant_row(each.tenant) for each in arrivals))
        _ADD_DATABASE.insert_many(run, (asdict(each.database) for each in arrivals))
        _ADD_MANIFEST.insert_many(run, (asdict(each.manifest) for each in arrivals))
        _ADD_ENTRY.insert_many(run, (asdict(each.entry) for each in arrivals))

    def replace(self, arrival: ImportedTenant) -> None:
        tenant, connection = arrival.tenant, self._connection
        connection.execute(
            sa.update(tenants)
            .where(tenants.c.tenant_id == tenant.tenant_id)
            .values({name: value for name, value in _tenant_row(tenant).items() if name != "tenant_id"})
        )
        connection.execute(
            sa.delete(legacy_manifests).where(legacy_manifests.c.tenant_id == tenant.tenant_id)
        )
        _ADD_MANIFEST.run(connection, asdict(arrival.manifest))
        has_default = sa.select(databases.c.database_id).where(
            databases.c.tenant_id == tenant.tenant_id, databases.c.name == DEFAULT_DATABASE
        )
        if connection.execute(has_default).first() is None:
            _ADD_DATABASE.run(connection, asdict(arrival.database))
        _ADD_ENTRY.run(connection, asdict(arrival.entry))

    def last_migrated_at(self) -> datetime | None:
        column = legacy_manifests.c.migrated_at
        last: datetime | None = self._connection.scalar(sa.select(sa.func.max(column, type_=column.type)))
        return last

    def written(self, migrated_at: datetime) -> Iterator[tuple[Tenant, LegacyManifest]]:
        for page in self._pages(_WRITTEN, lambda row: row[0].tenant_id, migrated_at=migrated_at):
            yield from page

    def count_databases(self, migrated_at: datetime) -> tuple[int, int]:
        """Return how many of its tenants have a ready `default` database, and how many it created."""
        statement = (
            sa.select(sa.func.count(), sa.func.count().filter(databases.c.created_at == migrated_at))
            .select_from(databases.join(legacy_manifests, databases.c.tenant_id == _KEY))
            .where(
                legacy_manifests.c.migrated_at == migrated_at,
                databases.c.name == DEFAULT_DATABASE,
                databases.c.state == DatabaseState.READY,
            )
        )
        ready, new = self._connection.execute(statement).one()
        return ready, new

    def count_tenants(self) -> int:
        return self._connection.execute(sa.select(sa.func.count()).select_from(tenants)).scalar_one()

    def paths(self) -> Iterator[tuple[TenantId, str, bytes | None]]:
        for page in self._pages(_PATHS, itemgetter(0)):
            yield from page

    def departures(self) -> Iterator[ExportedTenant]:
        for page in self._pages(_ALL, itemgetter(0)):
            names = self._other_databases(page[0][0], page[-1][0])
            for row in page:
                tenant = Tenant(**dict(zip(Tenant.__struct_fields__, row, strict=False)))
                values = row[len(_TENANT) :]
                manifest = None
                if values[0] is not None:
                    manifest = LegacyManifest(
                        **dict(zip(LegacyManifest.__struct_fields__, values, strict=True))
                    )
                yield ExportedTenant(tenant, manifest, names.get(tenant.tenant_id, ()))

    def _pages(
        self, statements: dict[bool, Prepared], id_of: Callable[[Any], TenantId], **parameters: object
    ) -> Iterator[list[Any]]:
        page = statements[False].all(self._connection, **parameters)
        while page:
            yield page
            page = statements[True].all(self._connection, after=id_of(page[-1]), **parameters)

    def _other_databases(self, first: TenantId, last: TenantId) -> dict[TenantId, list[str]]:
        statement = (
            sa.select(databases.c.tenant_id, databases.c.name)
            .where(
                databases.c.tenant_id.between(first, last),
                databases.c.name != DEFAULT_DATABASE,
                rows.live(databases, deleted=False),
            )
            .order_by(databases.c.tenant_id, databases.c.name)
        )
        found = self._connection.execute(statement)
        return {tenant: [name for _, name in each] for tenant, each in groupby(found, lambda row: row[0])}


def _tenant_row(tenant: Tenant) -> dict[str, Any]:
    """1.x does not record the state before deletion, so a restored tenant becomes active."""
    before = TenantStatus.ACTIVE if tenant.deleted_at is not None else None
    return rows.values(tenant) | {"state_before_deletion": before}
