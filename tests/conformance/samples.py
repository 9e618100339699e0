"""Helpers shared by the store suites: clock, raw SQL, entities, documents."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import numpy as np
import sqlalchemy as sa
from msgspec.structs import replace
from numpy.typing import NDArray

from akidb.domain.documents import Document, Include
from akidb.domain.entities import AuditEntry, Collection, Database, Metric, Tenant
from akidb.domain.errors import Unavailable
from akidb.domain.ids import AuditEntryId, CollectionId, DatabaseId, IdGenerator, StoreId, TenantId
from akidb.domain.json import canonical
from akidb.domain.lifecycle import Access
from akidb.ports.answers import RequestKey
from akidb.ports.documents import DocumentBatch, DocumentReader, DocumentWriter, Selection
from akidb.ports.metadata import MetadataStore
from akidb.ports.stores import TenantStore, TenantStores
from akidb.sql.database import SqlDatabase
from akidb.sql.types import format_instant

DIMENSION = 16
EVERYTHING = frozenset(Include)
Floats = NDArray[np.float32]


def make_ids() -> IdGenerator:
    """IDs of a fixed millisecond, in order."""
    return IdGenerator(lambda: 1_769_850_900_000, Random(1).getrandbits)


class Clock:
    """The time that the test sets."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 31, 9, 15, tzinfo=UTC)

    def advance(self, **by: float) -> datetime:
        self.now += timedelta(**by)
        return self.now


REFUSED = (sa.exc.IntegrityError, sa.exc.DataError)
"""What a schema says to a wrong value: SQLite's checks, and PostgreSQL's types besides."""


class Blob(bytes):
    """Bytes that are no ID."""

    __slots__ = ()


class RawSql:
    """Runs SQL in a transaction of its own, on a connection of the store.

    It is written as for SQLite: `?` for a parameter, times as text, IDs as bytes, other bytes as a Blob.
    """

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database
        self.system = database.system

    def __call__(self, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
        """Raises one of REFUSED as it is."""
        with self._unchanged_errors(), self._database.write() as connection:
            if connection.dialect.name == "postgresql":
                statement = statement.replace("%", "%%").replace("?", "%s")
                parameters = tuple(map(_for_postgresql, parameters))
            result = connection.exec_driver_sql(statement, parameters)
            return [tuple(map(_as_text, row)) for row in result] if result.returns_rows else []

    @staticmethod
    @contextmanager
    def _unchanged_errors() -> Iterator[None]:
        try:
            yield
        except Unavailable as error:
            if isinstance(error.__cause__, REFUSED):
                raise error.__cause__ from None
            raise


def _for_postgresql(value: object) -> object:
    if isinstance(value, Blob):
        return bytes(value)
    return value.hex() if isinstance(value, bytes) else value


def _as_text(value: object) -> object:
    return format_instant(value) if isinstance(value, datetime) else value


class Library:
    """Entities in a metadata store, each made in a transaction of its own."""

    def __init__(self, metadata: MetadataStore, clock: Clock, ids: IdGenerator) -> None:
        self.metadata = metadata
        self.clock = clock
        self.ids = ids

    def new_tenant(self, slug: str = "aki-labs", **fields: Any) -> Tenant:
        """A tenant that is not stored."""
        times = {"created_at": self.clock.now, "updated_at": self.clock.now}
        return Tenant(
            **{"tenant_id": self.ids.new(TenantId), "name": slug.title(), "slug": slug, **times, **fields}
        )

    def new_database(self, tenant: Tenant, name: str = "kb", **fields: Any) -> Database:
        """A database that is not stored."""
        return Database(
            database_id=self.ids.new(DatabaseId),
            tenant_id=tenant.tenant_id,
            name=name,
            created_at=self.clock.now,
            updated_at=self.clock.now,
            **fields,
        )

    def new_collection(self, database: Database, name: str = "notes", **fields: Any) -> Collection:
        """A collection that is not stored."""
        return Collection(
            collection_id=self.ids.new(CollectionId),
            tenant_id=database.tenant_id,
            database_id=database.database_id,
            name=name,
            created_at=self.clock.now,
            updated_at=self.clock.now,
            **{"dimension": DIMENSION, **fields},
        )

    def tenant(self, slug: str = "aki-labs", **fields: Any) -> Tenant:
        made = self.new_tenant(slug, **fields)
        with self.metadata.transaction() as tx:
            tx.tenants.create(made)
        return made

    def database(self, tenant: Tenant, name: str = "kb", **fields: Any) -> Database:
        made = self.new_database(tenant, name, **fields)
        with self.metadata.transaction() as tx:
            tx.databases.create(made)
        return made

    def collection(self, database: Database, name: str = "notes", **fields: Any) -> Collection:
        made = self.new_collection(database, name, **fields)
        with self.metadata.transaction() as tx:
            tx.collections.create(made)
        return made

    def audit(self, tenant: Tenant, action: str = "tenant.create", **fields: Any) -> AuditEntry:
        entry = AuditEntry(
            audit_entry_id=self.ids.new(AuditEntryId),
            tenant_id=tenant.tenant_id,
            action=action,
            resource_type="tenant",
            resource_id=str(tenant.tenant_id),
            created_at=self.clock.now,
            **fields,
        )
        with self.metadata.transaction() as tx:
            tx.audit.add(entry)
        return entry


class Shelf:
    """A tenant's store with a collection, and short ways to write to and read from it."""

    def __init__(self, stores: TenantStores, clock: Clock, ids: IdGenerator) -> None:
        now = clock.now
        self.stores = stores
        self.ids = ids
        self.tenant = Tenant(
            tenant_id=ids.new(TenantId), name="Aki Labs", slug="aki-labs", created_at=now, updated_at=now
        )
        self.database = Database(
            database_id=ids.new(DatabaseId),
            tenant_id=self.tenant.tenant_id,
            name="kb",
            created_at=now,
            updated_at=now,
        )
        self.collection = self.new_collection("notes")
        self.store_id = ids.new(StoreId)
        stores.create(self.tenant.tenant_id, self.store_id)
        self.apply()

    def new_collection(
        self, name: str, metric: Metric = Metric.COSINE, dimension: int = DIMENSION
    ) -> Collection:
        """A collection that the store does not know yet."""
        return Collection(
            collection_id=self.ids.new(CollectionId),
            tenant_id=self.tenant.tenant_id,
            database_id=self.database.database_id,
            name=name,
            dimension=dimension,
            metric=metric,
            created_at=self.tenant.created_at,
            updated_at=self.tenant.created_at,
        )

    @contextmanager
    def open(self) -> Iterator[TenantStore]:
        with self.stores.open(self.tenant.tenant_id, self.store_id, lambda _store: None) as store:
            yield store

    def apply(self, *more: Collection, purged: Sequence[CollectionId] = ()) -> None:
        """Tell the store of the tenant, the database and the collection as they are now."""
        with self.open() as store:
            pairs = [(self.database, each) for each in (self.collection, *more)]
            store.apply(self.tenant, pairs, purged)

    def set_tenant(self, **fields: Any) -> None:
        self.tenant = replace(self.tenant, version=self.tenant.version + 1, **fields)
        self.apply()

    def set_database(self, **fields: Any) -> None:
        self.database = replace(self.database, version=self.database.version + 1, **fields)
        self.apply()

    def set_collection(self, **fields: Any) -> None:
        self.collection = replace(self.collection, version=self.collection.version + 1, **fields)
        self.apply()

    @contextmanager
    def reading(
        self, collection: Collection | None = None, operation: Access = Access.DOCUMENT_READ
    ) -> Iterator[DocumentReader]:
        with (
            self.open() as store,
            store.read((collection or self.collection).collection_id, operation) as reader,
        ):
            yield reader

    @contextmanager
    def writing(self, collection: Collection | None = None) -> Iterator[DocumentWriter]:
        with self.open() as store, store.transaction((collection or self.collection).collection_id) as writer:
            yield writer

    def upsert(self, *documents: Document, collection: Collection | None = None) -> None:
        with self.writing(collection) as writer:
            writer.upsert(batch(documents))

    def delete(self, *ids: str) -> int:
        with self.writing() as writer:
            return writer.delete(Selection(ids=ids))

    def get(self, *ids: str) -> list[Document]:
        with self.reading() as reader:
            return reader.get(ids, EVERYTHING)

    def all_ids(self) -> list[str]:
        with self.reading() as reader:
            return [
                document.id for document in reader.scan(after=None, filter=None, include=(), limit=100_000)[0]
            ]

    def usage(self) -> tuple[int, int]:
        with self.open() as store:
            return store.usage()

    def check(self) -> list[str]:
        with self.open() as store:
            return store.check()


def document(
    id: str, text: str | None = None, metadata: dict[str, Any] | None = None, vector: Floats | None = None
) -> Document:
    """A document; without a vector it has one that its id decides."""
    if vector is None:
        vector = vector_of(id)
    return Document(id=id, text=text, metadata=metadata or {}, vector=vector)


def vector_of(seed: str, dimension: int = DIMENSION) -> Floats:
    """A vector of norm about 1 that its seed decides."""
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big")
    values = np.random.default_rng(number).normal(size=dimension)
    return np.asarray(values / np.linalg.norm(values), dtype=np.float32)


def size_of(document: Document) -> int:
    """Bytes that it takes of the storage quota, by the formula of the specification."""
    assert document.vector is not None
    text = 0 if document.text is None else len(document.text.encode())
    return len(document.id.encode()) + text + len(canonical(document.metadata)) + 4 * len(document.vector)


def batch(documents: Sequence[Document]) -> DocumentBatch:
    """Documents as a store takes them."""
    return DocumentBatch(
        ids=[each.id for each in documents],
        texts=[each.text for each in documents],
        metadata=[canonical(each.metadata).decode() for each in documents],
        sizes=[size_of(each) for each in documents],
        vectors=np.ascontiguousarray([each.vector for each in documents], dtype="<f4"),
    )


def key(scope: str = "tenant.create", name: str = "first", arguments: bytes = b"{}") -> RequestKey:
    """A request with an idempotency key."""
    return RequestKey(scope, name, hashlib.sha256(arguments).digest())


def same(document: Document, other: Document) -> bool:
    """Whether two documents hold the same, their vectors bit for bit."""
    assert document.vector is not None
    assert other.vector is not None
    return (document.id, document.text, document.metadata, document.vector.tobytes()) == (
        other.id,
        other.text,
        other.metadata,
        other.vector.tobytes(),
    )


def replaced(values: dict[str, Any]) -> Callable[[str, dict[str, Any]], str]:
    """A change of metadata to these values."""
    return lambda _id, _old: canonical(values).decode()
