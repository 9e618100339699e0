"""Tenant stores in the shared tables of a PostgreSQL database, which other processes use at the same time.

Stores are not opened here, so only the database records which changes were applied to a store. Operations
that must not run concurrently for a tenant, in any process, run under an advisory lock of the database.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from akidb.documents import schema
from akidb.documents.archive_image import SqlStoreFiller, SqlStoreImage
from akidb.documents.base import SqlTenantStore
from akidb.documents.statements import OF_SHARED, TenantSql, on_shared_tables
from akidb.documents.tables import SHARED
from akidb.documents.tenant_copy import Renamed, refill
from akidb.domain.errors import Unavailable
from akidb.domain.ids import StoreId, TenantId
from akidb.domain.lifecycle import TenantStatus
from akidb.observe.telemetry import StoreFigures
from akidb.ports.archive import StoreFiller, StoreImage
from akidb.ports.conflicts import MachineFailure, TransactionConflict
from akidb.ports.stores import TenantStore
from akidb.sql import migrations
from akidb.sql.postgresql import PostgresDatabase
from akidb.sql.telemetry import observed

HEAD = "0007"
"""The newest step in `migrations/versions`; a test compares the two."""
SCHEMA = "akidb_documents"

SCHEMA_LOCK = 0x616B6964625F646F
"""Advisory lock for schema migrations: `akidb_do` as a number."""
_TENANTS = sa.select(SHARED.control.c.tenant_id).order_by(SHARED.control.c.tenant_id)
_MIGRATIONS = Path(__file__).parent / "migrations"


class PostgresTenantStore(SqlTenantStore):
    """`akidb.ports.documents.TenantStore`: the rows of one tenant.

    `check_lock` raises Unavailable if the tenant's lock was taken and then lost.
    """

    def __init__(
        self,
        database: PostgresDatabase,
        sql: TenantSql,
        store_id: StoreId,
        check_lock: Callable[[sa.Connection], None],
    ) -> None:
        super().__init__(database, sql, store_id)
        self._check_lock = check_lock

    @contextmanager
    def image(self) -> Iterator[StoreImage]:
        with self._database.read(snapshot=True) as connection:
            yield SqlStoreImage(connection, self._sql)

    def _hold(self, connection: sa.Connection) -> None:
        """Block other writers: the next holder of a lost lock waits for the row lock."""
        super()._hold(connection)
        self._check_lock(connection)

    def erase(self) -> bool:
        """Return True: PostgreSQL's vacuum clears deleted rows from its pages."""
        return True


class PostgresTenantStores:
    """`akidb.ports.documents.TenantStores` in one database."""

    def __init__(self, url: str, *, max_open: int, synchronous: str = "full", pool_size: int = 8) -> None:
        """Connect, and create missing tables.

        Up to `max_open` tenants are cached as prepared: all changes were applied to their stores.
        """
        self._database = PostgresDatabase(url, SCHEMA, pool_size=pool_size, synchronous=synchronous)
        # Holders of a tenant's lock also need a connection for their work. With a single pool, waiters for
        # locks could take all connections: a deadlock.
        self._locks = PostgresDatabase(url, SCHEMA, pool_size=pool_size, synchronous=synchronous)
        self._max_open = max_open
        self._lock = threading.Lock()
        self._held = threading.local()
        self._generations: dict[TenantId, int] = {}
        self._prepared: OrderedDict[TenantId, tuple[StoreId, int]] = OrderedDict()
        try:
            with self._locks.locked(SCHEMA_LOCK):
                bring_forward(self._database)
        except BaseException:
            self.close()
            raise

    def create(self, tenant_id: TenantId, store_id: StoreId) -> None:
        row = sa.insert(SHARED.control).values(
            tenant_id=tenant_id,
            store_id=store_id,
            tenant_version=0,
            tenant_status=TenantStatus.PROVISIONING,
            storage_quota_bytes=0,
            storage_used_bytes=0,
        )
        try:
            # In one transaction: a process that lost the lock may have registered the replaced store.
            with self._database.write() as connection:
                if not self._remove_unused(connection, tenant_id):
                    raise Unavailable(
                        f"{self._database.name}: the store of tenant {tenant_id} is unknown to the metadata;"
                        " restore both from the same backup"
                    )
                connection.execute(row)
        except sa.exc.IntegrityError as error:  # created concurrently by a process that lost the lock
            raise TransactionConflict(f"{self._database.name}: concurrent creation of a store") from error
        self._forget(tenant_id)

    @contextmanager
    def open(
        self, tenant_id: TenantId, store_id: StoreId, prepare: Callable[[TenantStore], None]
    ) -> Iterator[TenantStore]:
        check_lock = partial(self._check_lock, tenant_id)
        store = PostgresTenantStore(self._database, on_shared_tables(tenant_id), store_id, check_lock)
        if not self._is_ready(tenant_id, store_id):
            with self.exclusive(tenant_id):
                with self._lock:
                    generation = self._generations.get(tenant_id, 0)
                self._require(store, tenant_id)
                prepare(observed("tenant", "store", store, self._database.system))
                self._note_ready(tenant_id, store_id, generation)
        yield observed("tenant", "store", store, self._database.system)

    @contextmanager
    def filling(self, tenant_id: TenantId, store_id: StoreId) -> Iterator[StoreFiller]:
        """Create and fill a store: durable when the block ends, removed if it raises."""
        with self.exclusive(tenant_id):
            self.create(tenant_id, store_id)
            try:
                yield SqlStoreFiller(self._database, on_shared_tables(tenant_id))
            except BaseException:
                self.remove(tenant_id)
                raise

    def branch(self, tenant_id: TenantId, store_id: StoreId, image: StoreImage, renamed: Renamed) -> None:
        with self.filling(tenant_id, store_id) as filler:
            refill(filler, image, renamed)

    @contextmanager
    def exclusive(self, tenant_id: TenantId) -> Iterator[None]:
        """Lock this tenant's store against being prepared or created elsewhere, in any process.

        Reentrant per thread.
        """
        held = self._holders()
        if tenant_id in held:
            yield
            return
        with self._locks.locked(_lock_key(tenant_id)) as holder:
            held[tenant_id] = holder
            try:
                yield
            finally:
                held.pop(tenant_id, None)

    def mark_stale(self, tenant_id: TenantId) -> None:
        with self._lock:
            if tenant_id in self._generations or tenant_id in self._prepared:
                self._generations[tenant_id] = self._generations.get(tenant_id, 0) + 1

    def remove(self, tenant_id: TenantId) -> None:
        """Delete every row of the tenant. Concurrent writers find no control row, and fail."""
        with self.exclusive(tenant_id), self._database.write() as connection:
            self._remove(connection, tenant_id)
        self._forget(tenant_id)

    def is_used(self, tenant_id: TenantId) -> bool:
        own = on_shared_tables(tenant_id)
        with self._database.read() as connection:
            found = own.statements.identity.first(connection, **own.own)
        return found is not None and found[2] != 0

    def remove_unused(self, tenant_id: TenantId) -> bool:
        """Remove a store that a crash left unfinished; return whether there is none now."""
        with self.exclusive(tenant_id), self._database.write() as connection:
            removed = self._remove_unused(connection, tenant_id)
        if removed:
            self._forget(tenant_id)
        return removed

    def displacements(self) -> list[str]:
        return []

    def altered(self) -> Mapping[TenantId, str]:
        return {}

    def checkpoint_idle(self) -> int:
        """Return 0: the server checkpoints its log."""
        return 0

    def names(self) -> list[str]:
        with self._database.read() as connection:
            return [str(tenant_id) for (tenant_id,) in connection.execute(_TENANTS)]

    def figures(self) -> StoreFigures:
        figures = self._database.figures() + self._locks.figures()
        return figures._replace(open_stores=self.open_count())

    def open_count(self) -> int:
        """Return 0: shared tables have no open stores."""
        return 0

    def close(self) -> None:
        self._database.close()
        self._locks.close()

    def _remove_unused(self, connection: sa.Connection, tenant_id: TenantId) -> bool:
        own = TenantSql(OF_SHARED, tenant_id)
        own.statements.lock.first(connection, **own.own)
        found = own.statements.identity.first(connection, **own.own)
        if found is not None and found[2] != 0:
            return False
        self._remove(connection, tenant_id)
        return True

    def _remove(self, connection: sa.Connection, tenant_id: TenantId) -> None:
        own = TenantSql(OF_SHARED, tenant_id)
        own.statements.lock.first(connection, **own.own)
        self._check_lock(tenant_id, connection)
        for table in (
            SHARED.documents,
            SHARED.tombstones,
            SHARED.remembered_answers,
            SHARED.collections,
            SHARED.control,
        ):
            connection.execute(sa.delete(table).where(*SHARED.own(table)), own.own)

    def _forget(self, tenant_id: TenantId) -> None:
        with self._lock:
            self._prepared.pop(tenant_id, None)
            self._generations.pop(tenant_id, None)

    def _holders(self) -> dict[TenantId, int]:
        """Return the locks that this thread holds."""
        held: dict[TenantId, int] = self._held.__dict__.setdefault("tenants", {})
        return held

    def _check_lock(self, tenant_id: TenantId, connection: sa.Connection) -> None:
        """Raise Unavailable if this thread held the tenant's lock and lost it with its connection.

        Call it with the control row locked: a new holder of the lock then waits for this transaction.
        """
        holder = self._holders().get(tenant_id)
        if holder is not None and not self._locks.is_locked(connection, _lock_key(tenant_id), holder):
            raise MachineFailure(
                f"{self._database.name}: the connection that held the tenant's lock was lost"
            )

    def _adopt(self, tenant_id: TenantId, store_id: StoreId) -> bool:
        """Give an empty store the ID named in the metadata; return whether it was empty.

        Two processes may create a store if the first loses its lock. The first may then register its ID
        after the second has replaced the store.
        """
        control, collections = SHARED.control, SHARED.collections
        own = on_shared_tables(tenant_id).own
        holds_something = sa.exists().where(*SHARED.own(collections))
        with self._database.write() as connection:
            adopted = connection.execute(
                sa.update(control)
                .where(*SHARED.own(control), control.c.tenant_version == 0, ~holds_something)
                .values(store_id=store_id),
                own,
            )
            self._check_lock(tenant_id, connection)
            return adopted.rowcount == 1

    def _require(self, store: PostgresTenantStore, tenant_id: TenantId) -> None:
        own = on_shared_tables(tenant_id)
        with self._database.read() as connection:
            found = own.statements.identity.first(connection, **own.own)
        if found is None:
            raise Unavailable(
                f"{self._database.name}: the store of tenant {tenant_id} is missing; restore it from a backup"
            )
        if found[0] != store.store_id and not self._adopt(tenant_id, store.store_id):
            raise Unavailable(
                f"{self._database.name}: the store of tenant {tenant_id} is not the one named in the metadata"
            )

    def _is_ready(self, tenant_id: TenantId, store_id: StoreId) -> bool:
        with self._lock:
            wanted = (store_id, self._generations.get(tenant_id, 0))
            return self._prepared.get(tenant_id) == wanted

    def _note_ready(self, tenant_id: TenantId, store_id: StoreId, generation: int) -> None:
        with self._lock:
            self._generations.setdefault(tenant_id, generation)
            self._prepared[tenant_id] = (store_id, generation)
            self._prepared.move_to_end(tenant_id)
            while len(self._prepared) > self._max_open:
                longest_unused, _ = self._prepared.popitem(last=False)
                self._generations.pop(longest_unused, None)


def _lock_key(tenant_id: TenantId) -> int:
    key = int.from_bytes(tenant_id.raw[8:]) ^ int.from_bytes(tenant_id.raw[:8])
    return key & (2**63 - 1)


def bring_forward(database: PostgresDatabase) -> None:
    """Apply all pending migrations of the shared tables in one transaction.

    Raises Unavailable for a schema newer than this program.
    """
    go(database, HEAD)


def check_way(database: PostgresDatabase, target: str) -> bool:
    """Return whether there are migrations to run to reach `target`.

    Raises Unavailable for a schema newer than this program, InvalidArgument(`to`) for a step without a
    downgrade, and for rows that the older version cannot store.
    """
    with database.read() as connection:
        found = migrations.recorded(connection)
        migrations.check_way(database.name, found, _MIGRATIONS, target, HEAD)
        if found is not None:  # both kinds of store have the same steps
            schema.require_storable(connection, database.name, int(found), int(target))
    return found != target


def go(database: PostgresDatabase, target: str) -> None:
    """Migrate to a version, up or down, atomically. Raises the errors of `check_way`."""
    if check_way(database, target):
        with database.migration() as connection:
            migrations.go(connection, _MIGRATIONS, target)
