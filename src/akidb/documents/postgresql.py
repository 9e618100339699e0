"""Tenant stores in the shared tables of a PostgreSQL database, which other processes use at the same time.

A store is opened by nobody here, so nothing but the database says what it has been told. What must not
happen twice at once for a tenant, in whatever process, happens under an advisory lock of the database.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import sqlalchemy as sa

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
from akidb.ports.conflicts import TransactionConflict
from akidb.ports.documents import TenantStore
from akidb.sql import migrations
from akidb.sql.postgresql import PostgresDatabase
from akidb.sql.telemetry import observed

HEAD = "0001"
"""The newest step in `migrations/versions`; a test holds the two together."""
SCHEMA = "akidb_documents"

SCHEMA_LOCK = 0x616B6964625F646F
"""What processes that bring the schema forward hold: `akidb_do` as a number."""
_TENANTS = sa.select(SHARED.control.c.tenant_id).order_by(SHARED.control.c.tenant_id)
_MIGRATIONS = Path(__file__).parent / "migrations"


class PostgresTenantStore(SqlTenantStore):
    """`akidb.ports.documents.TenantStore`: the rows of one tenant.

    `check_lock` raises Unavailable when the tenant's lock was lost since it was taken.
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
        """All of the store as of one instant, for as long as it takes to read it."""
        with self._database.read(snapshot=True) as connection:
            yield SqlStoreImage(connection, self._sql)

    def _hold(self, connection: sa.Connection) -> None:
        """Keep others from writing to the store: who gets a lost lock next waits for the row then."""
        super()._hold(connection)
        self._check_lock(connection)

    def erase(self) -> bool:
        """The database's own vacuum clears what was deleted from its pages."""
        return True


class PostgresTenantStores:
    """`akidb.ports.documents.TenantStores` in one database."""

    def __init__(self, url: str, *, max_open: int, synchronous: str = "full", pool_size: int = 8) -> None:
        """Connect, and make the tables if they are not there.

        Of `max_open` tenants it is remembered that their stores were told all there was to tell.
        """
        self._database = PostgresDatabase(url, SCHEMA, pool_size=pool_size, synchronous=synchronous)
        # Who holds a tenant's lock needs a connection of the other pool: from one pool, all could go to
        # those who wait for each other.
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
        """Make an empty store in place of an unused one."""
        row = sa.insert(SHARED.control).values(
            tenant_id=tenant_id,
            store_id=store_id,
            tenant_version=0,
            tenant_status=TenantStatus.PROVISIONING,
            storage_quota_bytes=0,
            storage_used_bytes=0,
        )
        try:
            # In one transaction: who lost the lock may have registered the store that this one replaces.
            with self._database.write() as connection:
                if not self._remove_unused(connection, tenant_id):
                    raise Unavailable(
                        f"{self._database.name}: there is a store of tenant {tenant_id} that the metadata"
                        " does not know; restore both from one backup"
                    )
                connection.execute(row)
        except sa.exc.IntegrityError as error:  # made at the same time by who lost the lock
            raise TransactionConflict(f"{self._database.name}: a store was made twice at once") from error
        self._forget(tenant_id)

    @contextmanager
    def open(
        self, tenant_id: TenantId, store_id: StoreId, prepare: Callable[[TenantStore], None]
    ) -> Iterator[TenantStore]:
        """The tenant's store, prepared."""
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
        """Make a store and fill it; durable when the block ends, gone when it raises."""
        with self.exclusive(tenant_id):
            self.create(tenant_id, store_id)
            try:
                yield SqlStoreFiller(self._database, on_shared_tables(tenant_id))
            except BaseException:
                self.remove(tenant_id)
                raise

    def branch(self, tenant_id: TenantId, store_id: StoreId, image: StoreImage, renamed: Renamed) -> None:
        """Make a store of what an image holds."""
        with self.filling(tenant_id, store_id) as filler:
            refill(filler, image, renamed)

    @contextmanager
    def exclusive(self, tenant_id: TenantId) -> Iterator[None]:
        """Keep others, in other processes too, from preparing or making this tenant's store.

        A thread that holds it already goes on.
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
        """Have the store prepared again before the next use."""
        with self._lock:
            if tenant_id in self._generations or tenant_id in self._prepared:
                self._generations[tenant_id] = self._generations.get(tenant_id, 0) + 1

    def remove(self, tenant_id: TenantId) -> None:
        """Remove every row of the tenant. Who writes meanwhile finds no control row, and fails."""
        with self.exclusive(tenant_id), self._database.write() as connection:
            self._remove(connection, tenant_id)
        self._forget(tenant_id)

    def remove_unused(self, tenant_id: TenantId) -> bool:
        """Remove what a crash left of making a store; tells whether there is none now."""
        with self.exclusive(tenant_id), self._database.write() as connection:
            removed = self._remove_unused(connection, tenant_id)
        if removed:
            self._forget(tenant_id)
        return removed

    def names(self) -> list[str]:
        """The tenants that have a control row."""
        with self._database.read() as connection:
            return [str(tenant_id) for (tenant_id,) in connection.execute(_TENANTS)]

    def figures(self) -> StoreFigures:
        """How it stands with the connections."""
        figures = self._database.figures() + self._locks.figures()
        return figures._replace(open_stores=self.open_count())

    def open_count(self) -> int:
        """None is ever open: there are only rows."""
        return 0

    def close(self) -> None:
        """Close every connection."""
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
        """The locks that this thread holds."""
        held: dict[TenantId, int] = self._held.__dict__.setdefault("tenants", {})
        return held

    def _check_lock(self, tenant_id: TenantId, connection: sa.Connection) -> None:
        """Raise Unavailable when this thread held the tenant's lock and lost it with its connection.

        To be asked with the control row locked: who has the lock now comes after this transaction then.
        """
        holder = self._holders().get(tenant_id)
        if holder is not None and not self._locks.is_locked(connection, _lock_key(tenant_id), holder):
            raise Unavailable(f"{self._database.name}: the connection is lost that held the tenant's lock")

    def _adopt(self, tenant_id: TenantId, store_id: StoreId) -> bool:
        """Give an empty store the ID that the metadata names; tells whether it was empty.

        Two make a store when the first loses its lock. The first may be the one who registers, after the
        second put its own store in place.
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
                f"{self._database.name}: the store of tenant {tenant_id} is not the one"
                " that the metadata names"
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
    """Take the steps that the shared tables lack, in one transaction.

    Raises Unavailable for a schema newer than this program.
    """
    go(database, HEAD)


def check_way(database: PostgresDatabase, target: str) -> bool:
    """Refuse to go where there is no way; tells whether there are steps to take.

    Raises Unavailable for a schema newer than this program, InvalidArgument(`to`) for a step that has no way
    back.
    """
    with database.read() as connection:
        found = migrations.recorded(connection)
    migrations.check_way(database.name, found, _MIGRATIONS, target, HEAD)
    return found != target


def go(database: PostgresDatabase, target: str) -> None:
    """Take the steps to a version, forward or back, all of them or none. Raises as `check_way` does."""
    if check_way(database, target):
        with database.migration() as connection:
            migrations.go(connection, _MIGRATIONS, target)
