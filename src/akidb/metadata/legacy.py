"""The manifests of 1.x in SQL, and the tenants that come and go with them, many at a time."""

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
"""Their JSON objects and manifests may be of a megabyte each; most are of a few hundred bytes."""

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
    """A statement for the first page of its rows, in the order of a tenant's ID, and for a later one."""
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
        """Keep others from locking and writing tenants until the transaction ends; on SQLite none can anyway.

        Who has locked one to change it is waited for here, before there is anything that it could wait for.
        """
        if self._connection.dialect.name == "postgresql":
            self._connection.exec_driver_sql("LOCK TABLE tenants IN EXCLUSIVE MODE")

    def standing(self, tenant_ids: Sequence[TenantId]) -> dict[TenantId, KnownTenant]:
        """Those that the store knows, purged ones too."""
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
        """Those that a tenant has, deleted or not."""
        statement = sa.select(tenants.c.slug).where(tenants.c.slug.in_(slugs))
        return set(self._connection.execute(statement).scalars())

    def add(self, arrivals: Sequence[ImportedTenant]) -> None:
        """Add tenants that are not there."""
        run = self._connection
        _ADD_TENANT.insert_many(run, (_tenant_row(each.tenant) for each in arrivals))
        _ADD_DATABASE.insert_many(run, (asdict(each.database) for each in arrivals))
        _ADD_MANIFEST.insert_many(run, (asdict(each.manifest) for each in arrivals))
        _ADD_ENTRY.insert_many(run, (asdict(each.entry) for each in arrivals))

    def replace(self, arrival: ImportedTenant) -> None:
        """Make a tenant that is there what its manifest says."""
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
        """The time of the last migration, None when there was none."""
        column = legacy_manifests.c.migrated_at
        last: datetime | None = self._connection.scalar(sa.select(sa.func.max(column, type_=column.type)))
        return last

    def written(self, migrated_at: datetime) -> Iterator[tuple[Tenant, LegacyManifest]]:
        """What the migration of that moment wrote, in the order of the IDs."""
        for page in self._pages(_WRITTEN, lambda row: row[0].tenant_id, migrated_at=migrated_at):
            yield from page

    def count_databases(self, migrated_at: datetime) -> int:
        """How many of these tenants have a database `default` that is ready."""
        statement = (
            sa.select(sa.func.count())
            .select_from(databases.join(legacy_manifests, databases.c.tenant_id == _KEY))
            .where(
                legacy_manifests.c.migrated_at == migrated_at,
                databases.c.name == DEFAULT_DATABASE,
                databases.c.state == DatabaseState.READY,
            )
        )
        return self._connection.execute(statement).scalar_one()

    def count_tenants(self) -> int:
        """How many tenants there are, deleted ones too."""
        return self._connection.execute(sa.select(sa.func.count()).select_from(tenants)).scalar_one()

    def paths(self) -> Iterator[tuple[TenantId, str, bytes | None]]:
        """Each tenant's ID, slug and the path of its manifest, in the order of the IDs."""
        for page in self._pages(_PATHS, itemgetter(0)):
            yield from page

    def departures(self) -> Iterator[ExportedTenant]:
        """Every tenant, deleted ones too, in the order of the IDs."""
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
    """1.x does not say what a deleted tenant was before: restored, it is active."""
    before = TenantStatus.ACTIVE if tenant.deleted_at is not None else None
    return rows.values(tenant) | {"state_before_deletion": before}
