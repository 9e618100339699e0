"""A small data set that covers every change spanning the metadata and tenant stores."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from disk_steps import DiskSteps
from fault_tools import add_tenant, at, document, documents, opened, outcome

from akidb.deployment.local import LocalOperations
from akidb.domain.fields import CollectionPath
from akidb.domain.lifecycle import DatabaseState
from akidb.observe import context
from akidb.operations.collections import (
    CreateCollection,
    DeleteCollection,
    GetCollection,
    ListCollections,
    PurgeCollection,
    RestoreCollection,
    UpdateCollection,
)
from akidb.operations.databases import (
    CreateDatabase,
    DeleteDatabase,
    ListDatabases,
    PurgeDatabase,
    RestoreDatabase,
    UpdateDatabase,
)
from akidb.operations.documents import DeleteDocuments, ScanDocuments, UpsertDocuments
from akidb.operations.tenants import (
    DeleteTenant,
    GetTenant,
    GetUsage,
    ListTenants,
    PurgeTenant,
    RestoreTenant,
    SuspendTenant,
    UpdateTenant,
)

SLUGS = ("work", "fresh", "doomed")
MIGRATING = UpdateDatabase(tenant="work", database="d", state=DatabaseState.MIGRATING)
BARE = at("fresh", "bare")
PLACES = [
    at(slug, collection, database)
    for slug in SLUGS
    for database, collection in (("d", "c"), ("d", "gone"), ("d", "new"), ("old", "c"))
]


def build(directory: Path) -> None:
    """`work` has live and deleted things, `fresh` no document yet, `doomed` is deleted."""
    with opened(directory) as operations:
        for slug in ("work", "doomed"):
            add_tenant(operations, slug, "c", "gone")
            operations.perform(CreateDatabase(tenant=slug, name="old"))
            operations.perform(CreateCollection(tenant=slug, database="old", name="c", dimension=16))
            for path in (at(slug), at(slug, "gone"), at(slug, "c", "old")):
                operations.perform(UpsertDocuments(**path._asdict(), documents=documents(3)))
            operations.perform(DeleteCollection(tenant=slug, database="d", collection="gone"))
            operations.perform(DeleteDatabase(tenant=slug, database="old"))
        operations.perform(DeleteTenant(tenant="doomed"))
        add_tenant(operations, "fresh", "c")
        operations.perform(CreateCollection(tenant="fresh", database="d", name="bare"))


ACTIONS: dict[str, Callable[[LocalOperations], Any]] = {
    "suspend": lambda o: o.perform(SuspendTenant(tenant="work")),
    "lower a storage quota": lambda o: o.perform(UpdateTenant(tenant="work", storage_quota_bytes=10)),
    "delete a tenant": lambda o: o.perform(DeleteTenant(tenant="work")),
    "restore a tenant": lambda o: o.perform(RestoreTenant(tenant="doomed")),
    "purge a tenant": lambda o: o.perform(PurgeTenant(tenant="doomed")),
    "move a database": lambda o: o.perform(MIGRATING),
    "delete a database": lambda o: o.perform(DeleteDatabase(tenant="work", database="d")),
    "restore a database": lambda o: o.perform(RestoreDatabase(tenant="work", database="old")),
    "purge a database": lambda o: o.perform(PurgeDatabase(tenant="work", database="old")),
    "create a collection": lambda o: o.perform(
        CreateCollection(tenant="work", database="d", name="new", dimension=16)
    ),
    "lower a document limit": lambda o: o.perform(
        UpdateCollection(tenant="work", database="d", collection="c", max_document_count=3)
    ),
    "delete a collection": lambda o: o.perform(DeleteCollection(tenant="work", database="d", collection="c")),
    "restore a collection": lambda o: o.perform(
        RestoreCollection(tenant="work", database="d", collection="gone")
    ),
    "purge a collection": lambda o: o.perform(
        PurgeCollection(tenant="work", database="d", collection="gone")
    ),
    "write the first document": lambda o: o.perform(
        UpsertDocuments(**at("fresh")._asdict(), documents=documents(3))
    ),
    "write the first document of no known dimension": lambda o: o.perform(
        UpsertDocuments(**BARE._asdict(), documents=documents(3))
    ),
    "write documents": lambda o: o.perform(UpsertDocuments(**at("work")._asdict(), documents=documents(5))),
    "delete documents": lambda o: o.perform(DeleteDocuments(**at("work")._asdict(), ids=["x0", "x2"])),
}
REPEATED = {None, "NotFound", "AlreadyExists"}
"""How a change that was done before, and bears no key, may answer."""


def view(operations: LocalOperations) -> dict[str, Any]:
    """What a user sees, without IDs and times; also what a write is answered."""
    seen: dict[str, Any] = {
        "deleted": sorted(tenant.slug for tenant in operations.perform(ListTenants(deleted=True)).items)
    }
    for slug in SLUGS:
        seen[slug] = outcome(_tenant, operations, slug)
    for path in PLACES:
        seen["/".join(map(str, path))] = (outcome(_scan, operations, path), outcome(_probe, operations, path))
    seen["bare"] = outcome(_dimension, operations, BARE), outcome(_scan, operations, BARE)
    return seen


def _dimension(operations: LocalOperations, path: CollectionPath) -> int | None:
    return operations.perform(GetCollection(**path._asdict())).dimension


def _scan(operations: LocalOperations, path: CollectionPath) -> list[str]:
    return [document.id for document in operations.perform(ScanDocuments(**path._asdict())).items]


def _tenant(operations: LocalOperations, slug: str) -> Any:
    tenant, usage = operations.perform(GetTenant(tenant=slug)), operations.perform(GetUsage(tenant=slug))
    below = [
        (deleted, database.name, database.state, [(c.name, c.state, c.max_document_count) for c in inner])
        for deleted in (False, True)
        for database in operations.perform(ListDatabases(tenant=slug, deleted=deleted)).items
        for inner in [
            [] if deleted else operations.perform(ListCollections(tenant=slug, database=database.name)).items,
            []
            if deleted
            else operations.perform(ListCollections(tenant=slug, database=database.name, deleted=True)).items,
        ]
    ]
    used = (usage.storage_bytes.used, usage.documents, usage.databases, usage.collections)
    return tenant.status, tenant.storage_quota_bytes, used, below


def _probe(operations: LocalOperations, path: CollectionPath) -> int:
    operations.perform(UpsertDocuments(**path._asdict(), documents=[document("probe")]))
    return operations.perform(DeleteDocuments(**path._asdict(), ids=["probe"]))


def act(operations: LocalOperations, action: str) -> Any:
    """Carry an action out under its own idempotency key."""
    with context.request(idempotency_key=action):
        return ACTIONS[action](operations)


def act_until(directory: Path, action: str, fail_at: int) -> None:
    """Carry an action out in a process that dies at one of its steps."""

    def die(_step: str) -> None:
        os._exit(9)

    with opened(directory) as operations:
        DiskSteps(fail_at, die).install(pytest.MonkeyPatch())
        act(operations, action)
        os._exit(0)  # without closing: what was acknowledged must not need it


def undisturbed(
    action: str, world: Path, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """What is seen before an action and after it, and the steps between."""
    for name in ("before", "after"):
        shutil.copytree(world, directory / name)
    with opened(directory / "before") as operations:
        before = view(operations)
    steps = DiskSteps()
    with opened(directory / "after") as operations:
        with monkeypatch.context() as patch:
            steps.install(patch)
            act(operations, action)
        return before, view(operations), steps.seen
