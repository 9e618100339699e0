"""Targets of the operation samples: tenants, databases, collections, documents and users.

Each mutating operation has its own target, so that all operations can run on one stage, in any
order.
"""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from akidb.client.connect import bind
from akidb.domain.ids import DatabaseId, TenantId, UserId
from akidb.domain.lifecycle import TenantStatus
from akidb.operations import (
    OPERATIONS,
    Operation,
    Operations,
    Request,
    audit,
    changes,
    embeddings,
    migration,
    upkeep,
)
from akidb.operations import archives as archive
from akidb.operations import collections as collection
from akidb.operations import databases as database
from akidb.operations import documents as document
from akidb.operations import tenants as tenant
from akidb.operations import users as user
from akidb.settings import Settings
from postgres import Server

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))  # its deployments serve here too

DIMENSION = 16
SECRET = "correct horse"
MODEL = "hash"
PLACES = {"tenant": "mine", "database": "kb", "collection": "notes", "user": "al@x", "model": MODEL}
"""What a sample names unless it says otherwise."""


def vector(seed: int) -> Any:
    return np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)


def some_documents(prefix: str, count: int = 4) -> list[dict[str, Any]]:
    return [
        {"id": f"{prefix}{n}", "text": f"Text {n}", "vector": vector(n), "metadata": {"n": n}}
        for n in range(count)
    ]


@contextmanager
def local(place: Path | str, models: Path) -> Iterator[Operations]:
    """What a place answers; no model is installed but `hash`."""
    operations = bind(place, Settings(models_dir=str(models), default_model=MODEL))
    try:
        yield operations
    finally:
        operations.close()


@contextmanager
def every_deployment(
    folders: pytest.TempPathFactory, postgres_server: Server
) -> Iterator[dict[str, Operations]]:
    """A directory, a server over its socket and over TCP, and a PostgreSQL database, each with a stage."""
    from congruence_deployments import server

    folder, models = folders.mktemp("stages"), folders.mktemp("no-models")
    url = postgres_server.url()
    with (
        local(folder / "directory", models) as directory,
        server(folder / "socket", models),
        server(folder / "http", models) as tcp,
        local(folder / "socket", models) as socket,
        local(tcp, models) as http,
        local(url, models) as postgresql,
    ):
        found = {"directory": directory, "socket": socket, "http": http, "postgresql": postgresql}
        for operations in found.values():
            build(operations)
        yield found
    postgres_server.drop(url)


class Sample(NamedTuple):
    """One good request of an operation, as fields beside the usual places."""

    fields: dict[str, Any]


def _said(**fields: Any) -> Sample:
    return Sample(fields)


SAMPLES: dict[type[Request[Any]], Sample] = {
    tenant.CreateTenant: _said(name="New tenant", slug="new-tenant"),
    tenant.ListTenants: _said(name_contains="MIN", limit=1),
    tenant.CountTenants: _said(name_contains="mine"),
    tenant.GetTenant: _said(),
    tenant.UpdateTenant: _said(tenant="changing", metadata={"a": [1, None]}, external_id="x-1"),
    tenant.ActivateTenant: _said(tenant="asleep"),
    tenant.SuspendTenant: _said(tenant="awake", reason="a test"),
    tenant.DeleteTenant: _said(tenant="doomed"),
    tenant.RestoreTenant: _said(tenant="missed"),
    tenant.PurgeTenant: _said(tenant="unwanted"),
    tenant.GetUsage: _said(),
    database.CreateDatabase: _said(name="new", description="Of a test", metadata={"a": [1, None]}),
    database.ListDatabases: _said(limit=2),
    database.CountDatabases: _said(deleted=True, tenant="theirs"),
    database.GetDatabase: _said(),
    database.UpdateDatabase: _said(database="changing", schema_version=3),
    database.DeleteDatabase: _said(database="doomed"),
    database.RestoreDatabase: _said(database="missed"),
    database.PurgeDatabase: _said(database="unwanted"),
    collection.CreateCollection: _said(name="new", dimension=DIMENSION, metric="l2", metadata={"a": 1}),
    collection.ListCollections: _said(limit=1),
    collection.CountCollections: _said(tenant="theirs"),
    collection.GetCollection: _said(),
    collection.GetIndex: _said(),
    collection.RebuildIndex: _said(),
    collection.UpdateCollection: _said(collection="changing", hnsw_m=5),
    collection.DeleteCollection: _said(collection="doomed"),
    collection.RestoreCollection: _said(collection="missed"),
    collection.PurgeCollection: _said(collection="unwanted"),
    document.UpsertDocuments: _said(collection="changing", documents=some_documents("u")),
    document.ScanDocuments: _said(filter={"n": {"$gte": 1}}, limit=2, include=["vector"]),
    document.GetDocuments: _said(ids=["d1", "nothing", "d0"], include=["text", "vector"]),
    document.CountDocuments: _said(filter={"n": 1}),
    document.GetFacets: _said(field="n", filter={"n": {"$gte": 1}}, limit=2),
    document.DeleteDocuments: _said(tenant="changing", ids=["d0", "nothing"]),
    document.ClearDocuments: _said(tenant="changing"),
    document.UpdateDocuments: _said(tenant="changing", metadata={"seen": True}, filter={"n": {"$gte": 2}}),
    document.SearchDocuments: _said(
        vector=vector(1), top_k=2, filter={"n": {"$lt": 3}}, include=["metadata"]
    ),
    document.SearchBatch: _said(
        vectors=np.stack([vector(1), vector(2)]), top_k=1, filter={"n": {"$lt": 3}}, include=["metadata"]
    ),
    changes.GetCollectionChanges: _said(limit=2, include=["vector"]),
    changes.GetTenantChanges: _said(tenant="theirs"),
    user.CreateUser: _said(email="new@x", password=SECRET, role="auditor"),
    user.ListUsers: _said(tenant="theirs"),
    user.CountUsers: _said(tenant="theirs"),
    user.GetUser: _said(),
    user.UpdateUser: _said(user="changing@x", role="admin"),
    user.ActivateUser: _said(user="asleep@x"),
    user.SuspendUser: _said(user="awake@x"),
    user.DeactivateUser: _said(user="leaving@x"),
    user.DeleteUser: _said(user="doomed@x"),
    user.VerifyPassword: _said(tenant="theirs", email="al@x", password=SECRET),
    audit.ListAuditEntries: _said(tenant="theirs", limit=3),
    archive.CreateBackup: _said(),
    archive.ExportTenant: _said(),
    archive.ImportTenant: _said(dry_run=True),
    archive.CopyTenant: _said(slug="branch"),
    embeddings.EmbedTexts: _said(texts=["one", "two"], model=MODEL),
    embeddings.ListModels: _said(),
    embeddings.GetModel: _said(),
    embeddings.PullModel: _said(),
    migration.MigrateV1ToV2: _said(v1_data_dir="v1", dry_run=True),
    migration.MigrateV2ToV1: _said(out="out"),
    upkeep.CheckStores: _said(),
    upkeep.MaintainStores: _said(),
}
"""By operation; a test says which is missing."""


def request_of(row: Operation, **fields: Any) -> Any:
    """The sample of an operation, with other fields if they are given."""
    places = {name: PLACES[name] for name in row.request.__struct_fields__ if name in PLACES}
    if row.feature == "embedding":
        places = {}
    return row.request(**{**places, **SAMPLES[row.request].fields, **fields})


class Ids(NamedTuple):
    """What a stage's things are called."""

    tenant: TenantId
    database: DatabaseId
    collection: Any
    user: UserId


def build(operations: Operations) -> dict[str, Ids]:
    """Put everything on a stage; gives the IDs of `mine` and `theirs`."""
    ask = operations.perform
    ids = {}
    for slug in ("mine", "theirs", "changing"):
        made = ask(tenant.CreateTenant(name=slug.title(), slug=slug))
        kb = ask(database.CreateDatabase(tenant=slug, name="kb"))
        notes = ask(
            collection.CreateCollection(tenant=slug, database="kb", name="notes", dimension=DIMENSION)
        )
        ask(
            document.UpsertDocuments(
                tenant=slug, database="kb", collection="notes", documents=some_documents("d")
            )
        )
        al = ask(user.CreateUser(tenant=slug, email="al@x", password=SECRET))
        ids[slug] = Ids(made.tenant_id, kb.database_id, notes.collection_id, al.user_id)
    for slug in ("asleep", "awake", "doomed", "missed", "unwanted"):
        first = TenantStatus.PROVISIONING if slug == "asleep" else TenantStatus.ACTIVE
        ask(tenant.CreateTenant(name=slug, slug=slug, status=first))
    for name in ("changing", "doomed", "missed", "unwanted"):
        ask(database.CreateDatabase(tenant="mine", name=name))
        ask(collection.CreateCollection(tenant="mine", database="kb", name=name, dimension=DIMENSION))
    for email in ("changing@x", "asleep@x", "awake@x", "leaving@x", "doomed@x"):
        ask(user.CreateUser(tenant="mine", email=email, password=SECRET))
    ask(user.SuspendUser(tenant="mine", user="asleep@x"))
    for name in ("missed", "unwanted"):
        ask(tenant.DeleteTenant(tenant=name))
        ask(database.DeleteDatabase(tenant="mine", database=name))
        ask(collection.DeleteCollection(tenant="mine", database="kb", collection=name))
    return ids


def perform(operations: Operations, row: Operation, folder: Path) -> Any:
    """The answer to the sample of an operation; of bytes, how they begin."""
    fields: dict[str, Any] = {}
    ends: dict[str, Any] = {}
    if row.name == "migration.v1_to_v2":
        fields["v1_data_dir"] = _manifests(folder / "v1")
    if row.name == "migration.v2_to_v1":
        fields["out"] = folder / "out"
    if row.takes == "bytes":
        exported = io.BytesIO()
        operations.perform(archive.ExportTenant(tenant="theirs"), sink=exported)
        ends["source"] = io.BytesIO(exported.getvalue())
    if row.gives == "bytes":
        ends["sink"] = io.BytesIO()
    answer = operations.perform(request_of(row, **fields), **ends)
    return ends["sink"].getvalue()[:16] if row.gives == "bytes" else answer


def _manifests(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "one.json").write_text(
        '{"tenant_id": "tenant_018f3c2e7b6a7c3d8e9f0a1b2c3d4e5f", "name": "Of 1.x", "slug": "of-1x",'
        ' "created_at": "2025-03-01T10:00:00Z", "updated_at": "2025-03-01T10:00:00Z"}'
    )
    return folder


ROWS = [*OPERATIONS.values()]
every_row = pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
