"""Shared helpers of the fault tests: documents to write, and invariants of a directory after any fault."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np

from akidb.deployment.local import METADATA_NAME, TENANTS_NAME, LocalOperations, open_local
from akidb.domain.errors import AkiDBError
from akidb.domain.fields import CollectionPath
from akidb.domain.json import canonical
from akidb.operations.collections import CreateCollection
from akidb.operations.databases import CreateDatabase
from akidb.operations.tenants import CreateTenant
from akidb.operations.upkeep import CheckStores
from akidb.settings import Settings
from akidb.sql.sqlite_library import library

P = ParamSpec("P")
T = TypeVar("T")

DIMENSION = 16
UNLIMITED_QPS = 10**9


@contextmanager
def opened(directory: Path, **settings: Any) -> Iterator[LocalOperations]:
    """The directory, open in this process."""
    operations = open_local(directory, Settings(**settings))
    try:
        yield operations
    finally:
        operations.close()


def add_tenant(operations: LocalOperations, slug: str, *collections: str, **fields: Any) -> None:
    """A tenant with a database `d` and these collections."""
    operations.perform(CreateTenant(name=slug, slug=slug, qps_quota=UNLIMITED_QPS, **fields))
    operations.perform(CreateDatabase(tenant=slug, name="d"))
    for name in collections:
        operations.perform(CreateCollection(tenant=slug, database="d", name=name, dimension=DIMENSION))


def at(tenant: str, collection: str = "c", database: str = "d") -> CollectionPath:
    """A path, in few letters."""
    return CollectionPath(tenant, database, collection)


def document(id: str, seed: int = 0, **metadata: Any) -> dict[str, Any]:
    """A document whose text and vector follow from its id and the seed."""
    numbers = np.random.default_rng([seed, *id.encode()]).standard_normal(DIMENSION, dtype=np.float32)
    return {"id": id, "text": f"{id} of {seed} äöü", "vector": numbers.tolist(), "metadata": metadata}


def documents(count: int, seed: int = 0, prefix: str = "x") -> list[dict[str, Any]]:
    """So many of them."""
    return [document(f"{prefix}{place}", seed) for place in range(count)]


def size_bytes(document: Any) -> int:
    """What a document takes of the storage quota, by the specification."""
    text = 0 if document["text"] is None else len(document["text"].encode())
    return len(document["id"].encode()) + text + len(canonical(document["metadata"])) + 4 * DIMENSION


def outcome(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | str:
    """What a call gives, or the name of the error that it raises."""
    try:
        return call(*args, **kwargs)
    except AkiDBError as error:
        return type(error).__name__


def failure(call: Callable[P, Any], *args: P.args, **kwargs: P.kwargs) -> str | None:
    """The name of the error that a call raises, None when it succeeds."""
    try:
        call(*args, **kwargs)
    except AkiDBError as error:
        return type(error).__name__
    return None


def unsound(operations: LocalOperations) -> list[str]:
    """What `doctor` finds wrong, without the checks that it could not make."""
    found = operations.perform(CheckStores()).items
    return [f"{f.store}: {f.check}: {f.detail}" for f in found if not f.ok and f.checked]


def disagreements(directory: Path) -> list[str]:
    """Where the metadata and the tenant stores differ, looked up in the files themselves.

    All that is in the outbox must have been applied: `doctor` sees to that.
    """
    with _rows(directory / METADATA_NAME) as read:
        waiting = read("SELECT * FROM outbox")
        stores = {row[0]: row[1:] for row in read(_STORES)}
        collections = read(_COLLECTIONS)
    found = [f"in the outbox: {row}" for row in waiting]
    names = {_uuid(tenant_id) for tenant_id in stores}
    found += [
        f"stray file {path.name}"
        for path in sorted((directory / TENANTS_NAME).iterdir())
        if path.name.partition(".db")[0] not in names
    ]
    for tenant_id, (store_id, status, quota) in stores.items():
        wanted = sorted(row[1:] for row in collections if row[0] == tenant_id)
        with _rows(directory / TENANTS_NAME / f"{_uuid(tenant_id)}.db") as read:
            control = read("SELECT store_id, tenant_id, tenant_status, storage_quota_bytes FROM control")
            if control != [(store_id, tenant_id, status, quota)]:
                found.append(f"control row {control}, not {(store_id, tenant_id, status, quota)}")
            known = sorted(read(_KNOWN_COLLECTIONS))
            if known != wanted:
                found.append(f"collections {known}, not {wanted}")
            found += [f"size_bytes of document {row}" for row in read(_MISCOUNTED)]
    return found


def store_sequence(directory: Path) -> int:
    """How many documents were ever written or deleted in all the collections there are."""
    total = 0
    for path in (directory / TENANTS_NAME).glob("*.db"):
        with _rows(path) as read:
            total += read("SELECT coalesce(sum(sequence), 0) FROM collections")[0][0]
    return total


_STORES = (
    "SELECT s.tenant_id, s.store_id, t.status, t.storage_quota_bytes"
    " FROM tenant_stores s JOIN tenants t ON t.tenant_id = s.tenant_id"
)
_COLLECTIONS = (
    "SELECT c.tenant_id, c.collection_id, c.database_id, c.state, d.state, c.dimension, c.metric,"
    " c.max_document_count FROM collections c JOIN databases d ON d.database_id = c.database_id"
)
_KNOWN_COLLECTIONS = (
    "SELECT collection_id, database_id, state, database_state, dimension, metric, max_document_count"
    " FROM collections"
)
_MISCOUNTED = (
    "SELECT id FROM documents WHERE size_bytes != length(CAST(id AS BLOB))"
    " + coalesce(length(CAST(text AS BLOB)), 0) + length(CAST(metadata AS BLOB)) + length(vector)"
)


def _uuid(raw: bytes) -> str:
    h = raw.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


@contextmanager
def _rows(path: Path) -> Iterator[Callable[[str], Sequence[tuple[Any, ...]]]]:
    """Read with the library that the process uses anyway; another one would drop its locks.

    A connection that may not write would leave the log behind that it opens.
    """
    connection = library.connect(f"file:{path}?mode=rw", uri=True)
    try:
        yield lambda statement: connection.execute(statement).fetchall()
    finally:
        connection.close()
