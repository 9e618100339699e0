"""Two tenants in shared tables whose rows differ only in the tenant ID, and their contents.

In production, tenants never share collection or document keys, so a query without a tenant condition could
pass unnoticed. Here it returns the twin's rows.
"""

from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from samples import Clock, Shelf, document, key

from akidb.documents.postgresql import PostgresTenantStores
from akidb.documents.sqlite_pool import SqliteTenantStores
from akidb.documents.tables import FILE, SHARED, Tables
from akidb.domain.ids import EntityId, IdGenerator, StoreId, TenantId
from akidb.domain.lifecycle import TenantStatus
from akidb.ports.stores import TenantStores
from akidb.sql.database import SqlDatabase
from akidb.sql.sqlite import SqliteFile

IdT = TypeVar("IdT", bound=EntityId)

TENANTS = [TenantId(bytes([*[1] * 15, number])) for number in (1, 2)]
OWN_QUOTA, TWINS_QUOTA = 2_000, 5_000
TABLES = ("control", "collections", "documents", "tombstones", "remembered_answers")


class TwinIds(IdGenerator):
    """The same IDs for every tenant, but for those of the tenant and of its store."""

    def __init__(self, tenant_id: TenantId) -> None:
        super().__init__(lambda: 1_769_850_900_000, Random(1).getrandbits)
        self._tenant_id = tenant_id

    def new(self, kind: type[IdT]) -> IdT:
        made = super().new(kind)
        if kind in {TenantId, StoreId}:
            return kind(self._tenant_id.raw)
        return made


class Twin(Shelf):
    """A tenant with two collections, documents, deletions and remembered answers."""

    def __init__(self, stores: TenantStores, clock: Clock, tenant_id: TenantId) -> None:
        restart_keys(stores)
        super().__init__(stores, clock, TwinIds(tenant_id))
        self.clock = clock
        self.drafts = self.new_collection("drafts")
        self.apply(self.drafts)

    def fill_as_own(self) -> None:
        """The tenant that a test is about."""
        self.upsert(*(document(id, f"own {id}", {"mine": True}) for id in ("a", "b", "c", "d")))
        self.upsert(document("z", "own z"), collection=self.drafts)
        self.delete("d")
        self.answer("first", b"own")
        self.set_tenant(storage_quota_bytes=OWN_QUOTA)

    def fill_as_twin(self) -> None:
        """The one beside it, which has more of everything, and is stopped then."""
        self.upsert(document("first"))
        self.delete("first")  # a tombstone older than any of the other tenant's
        self.upsert(*(document(id, f"twin's {id}", {"n": 1}) for id in "abcdefgh"))
        self.upsert(*(document(id, f"twin's {id}") for id in "yz"), collection=self.drafts)
        self.delete("g", "h")
        self.answer("old", b"twin's", ago_hours=23)
        self.answer("first", b"twin's")
        self.answer("second", b"twin's")
        self.set_collection(max_document_count=6)
        self.set_tenant(storage_quota_bytes=TWINS_QUOTA, status=TenantStatus.SUSPENDED)

    def answer(self, name: str, answer: bytes, *, ago_hours: int = 0) -> None:
        """Remember an answer; who it is for makes its arguments."""
        with self.writing() as writer:
            at = self.clock.now - timedelta(hours=ago_hours)
            writer.answers.add(key("documents.upsert", name, answer), answer, None, at)

    def rows(self) -> dict[str, list[Any]]:
        """All rows of the tenant, as the database has them."""
        if isinstance(self.stores, PostgresTenantStores):
            return rows_of(self.stores._database, SHARED, self.tenant.tenant_id)
        assert isinstance(self.stores, SqliteTenantStores)
        path = self.stores._path(self.tenant.tenant_id)
        return rows_of_file(path) if path.exists() else {table: [] for table in TABLES}


def restart_keys(stores: TenantStores, *sequences: str) -> None:
    """Have the next document get the first key again, and the next collection, as in a file of its own."""
    if isinstance(stores, PostgresTenantStores):
        with stores._database.write() as connection:
            for name in sequences or ("collection_keys", "document_keys"):
                connection.exec_driver_sql(f"SELECT setval('{name}', 1, false)")


def rows_of_file(path: Path) -> dict[str, list[Any]]:
    """All rows of a tenant's own file."""
    file = SqliteFile(path)
    try:
        return rows_of(file, FILE)
    finally:
        file.close()


def rows_of(database: SqlDatabase, tables: Tables, tenant_id: TenantId | None = None) -> dict[str, list[Any]]:
    """All rows but the key of a document, which no one else sees, and what says whose they are."""
    found: dict[str, list[Any]] = {}
    with database.read() as connection:
        for name in TABLES:
            table = getattr(tables, name)
            columns = [each for each in table.columns if each.name not in _LEFT_OUT]
            statement = table.select().with_only_columns(*columns)
            if tenant_id is not None:
                statement = statement.where(table.c.tenant_id == tenant_id)
            rows = connection.execute(statement).all()
            found[name] = sorted((tuple(row) for row in rows), key=repr)
    return found


_LEFT_OUT = {"tenant_id", "singleton", "document_key"}
