"""The outbox and the registry of tenant stores in SQL."""

import sqlalchemy as sa

from akidb.domain.errors import Damaged
from akidb.domain.ids import EntityId, StoreId, TenantId
from akidb.metadata.tables import outbox, tenant_stores
from akidb.ports.conflicts import TransactionConflict
from akidb.ports.outbox import OutboxEntry, OutboxSubject
from akidb.ports.rows import Damages
from akidb.sql.errors import violated
from akidb.sql.prepared import Prepared

_SELECT = sa.select(outbox.c.sequence, outbox.c.tenant_id, outbox.c.subject, outbox.c.subject_id).order_by(
    outbox.c.sequence
)
_ENTRIES = Prepared(_SELECT)
_PENDING = Prepared(_SELECT.where(outbox.c.tenant_id == sa.bindparam("tenant_id")))
_PURGES = Prepared(_SELECT.where(outbox.c.subject == sa.literal_column("'tenant_purge'")))
_FIRST = sa.func.min(outbox.c.sequence).label("first")
_WAITING = Prepared(
    sa.select(outbox.c.tenant_id, _FIRST)
    .where(outbox.c.subject != sa.literal_column("'tenant_purge'"))
    .group_by(outbox.c.tenant_id)
)
_STORES = Prepared(
    sa.select(tenant_stores.c.tenant_id, tenant_stores.c.store_id).order_by(tenant_stores.c.tenant_id)
)
_ADD = Prepared(
    sa.insert(outbox).values(
        {
            name: sa.bindparam(name, type_=outbox.c[name].type)
            for name in ("tenant_id", "subject", "subject_id")
        }
    )
)
_REMOVE = Prepared(
    sa.delete(outbox).where(
        outbox.c.tenant_id == sa.bindparam("tenant_id"), outbox.c.sequence <= sa.bindparam("up_to")
    )
)
_STORE = Prepared(
    sa.select(tenant_stores.c.store_id).where(tenant_stores.c.tenant_id == sa.bindparam("tenant_id"))
)
_STORE_WITH_PENDING = Prepared(
    sa.select(
        tenant_stores.c.store_id,
        sa.exists().where(outbox.c.tenant_id == tenant_stores.c.tenant_id).label("pending"),
    ).where(tenant_stores.c.tenant_id == sa.bindparam("tenant_id"))
)


_ONE_OF_A_TENANT = {"tenant_stores_pkey", "tenant_stores.tenant_id"}
"""The primary key of the registry, as PostgreSQL and SQLite name it."""


class SqlOutbox:
    """`akidb.ports.metadata.Outbox`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def add(self, tenant_id: TenantId, subject: OutboxSubject, subject_id: EntityId) -> None:
        values = {"tenant_id": tenant_id, "subject": subject, "subject_id": subject_id.raw}
        _ADD.run(self._connection, values)

    def pending(self, tenant_id: TenantId) -> list[OutboxEntry]:
        found = _PENDING.all(self._connection, tenant_id=tenant_id)
        return [OutboxEntry(*row) for row in found]

    def purges(self) -> list[OutboxEntry]:
        found = _PURGES.readable(self._connection)
        return [OutboxEntry(*row) for row in found if row is not None]

    def remove(self, tenant_id: TenantId, up_to_sequence: int) -> None:
        _REMOVE.run(self._connection, {"tenant_id": tenant_id, "up_to": up_to_sequence})

    def waiting(self, damaged: Damages = None) -> list[tuple[TenantId, int]]:
        found = _WAITING.readable(self._connection, damaged=damaged)
        return [(row[0], row[1]) for row in found if row is not None]

    def faults(self) -> list[Damaged]:
        found: list[Damaged] = []
        _ENTRIES.readable(self._connection, damaged=found.append)
        return found

    def depth(self) -> int:
        return self._connection.execute(sa.select(sa.func.count()).select_from(outbox)).scalar_one()


class SqlStoreRegistry:
    """`akidb.ports.metadata.StoreRegistry`."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def find(self, tenant_id: TenantId) -> StoreId | None:
        row = _STORE.first(self._connection, tenant_id=tenant_id)
        return None if row is None else row[0]

    def find_with_pending(self, tenant_id: TenantId) -> tuple[StoreId, bool] | None:
        """Return the ID of the tenant's store and whether entries are pending, or None."""
        row = _STORE_WITH_PENDING.first(self._connection, tenant_id=tenant_id)
        return None if row is None else (row[0], row[1])

    def register(self, tenant_id: TenantId, store_id: StoreId) -> None:
        """Register a created store.

        Raises TransactionConflict if another process registered one concurrently.
        """
        try:
            self._connection.execute(sa.insert(tenant_stores).values(tenant_id=tenant_id, store_id=store_id))
        except sa.exc.IntegrityError as error:
            if violated(error) not in _ONE_OF_A_TENANT:
                raise
            raise TransactionConflict(f"a concurrent store of tenant {tenant_id} exists") from error

    def forget(self, tenant_id: TenantId) -> None:
        self._connection.execute(sa.delete(tenant_stores).where(tenant_stores.c.tenant_id == tenant_id))

    def list(self, damaged: Damages = None) -> list[tuple[TenantId, StoreId]]:
        found = _STORES.readable(self._connection, damaged=damaged)
        return [(row[0], row[1]) for row in found if row is not None]
