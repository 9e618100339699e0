"""A small world with something for every change that crosses between the two kinds of store."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from disk_steps import DiskSteps
from fault_tools import add_tenant, at, document, documents, opened, outcome

from akidb.deployment.local import LocalOperations
from akidb.domain.lifecycle import DatabaseState
from akidb.observe import context
from akidb.ports.operations import CollectionChanges, CollectionPath, DatabaseChanges, TenantChanges

SLUGS = ("work", "fresh", "doomed")
MIGRATING = DatabaseChanges(state=DatabaseState.MIGRATING)
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
            operations.databases.create(slug, "old")
            operations.collections.create(slug, "old", "c", dimension=16)
            for path in (at(slug), at(slug, "gone"), at(slug, "c", "old")):
                operations.documents.upsert(path, documents(3))
            operations.collections.delete(slug, "d", "gone")
            operations.databases.delete(slug, "old")
        operations.tenants.delete("doomed")
        add_tenant(operations, "fresh", "c")


ACTIONS: dict[str, Callable[[LocalOperations], Any]] = {
    "suspend": lambda o: o.tenants.suspend("work"),
    "lower a storage quota": lambda o: o.tenants.update("work", TenantChanges(storage_quota_bytes=10)),
    "delete a tenant": lambda o: o.tenants.delete("work"),
    "restore a tenant": lambda o: o.tenants.restore("doomed"),
    "purge a tenant": lambda o: o.tenants.purge("doomed"),
    "move a database": lambda o: o.databases.update("work", "d", MIGRATING),
    "delete a database": lambda o: o.databases.delete("work", "d"),
    "restore a database": lambda o: o.databases.restore("work", "old"),
    "purge a database": lambda o: o.databases.purge("work", "old"),
    "create a collection": lambda o: o.collections.create("work", "d", "new", dimension=16),
    "lower a document limit": lambda o: o.collections.update(
        "work", "d", "c", CollectionChanges(max_document_count=3)
    ),
    "delete a collection": lambda o: o.collections.delete("work", "d", "c"),
    "restore a collection": lambda o: o.collections.restore("work", "d", "gone"),
    "purge a collection": lambda o: o.collections.purge("work", "d", "gone"),
    "write the first document": lambda o: o.documents.upsert(at("fresh"), documents(3)),
    "write documents": lambda o: o.documents.upsert(at("work"), documents(5)),
    "delete documents": lambda o: o.documents.delete(at("work"), ids=["x0", "x2"]),
}
REPEATED = {None, "NotFound", "AlreadyExists"}
"""How a change that was done before, and bears no key, may answer."""


def view(operations: LocalOperations) -> dict[str, Any]:
    """What a user sees, without IDs and times; also what a write is answered."""
    seen: dict[str, Any] = {
        "deleted": sorted(tenant.slug for tenant in operations.tenants.list(deleted=True).items)
    }
    for slug in SLUGS:
        seen[slug] = outcome(_tenant, operations, slug)
    for path in PLACES:
        seen["/".join(map(str, path))] = (outcome(_scan, operations, path), outcome(_probe, operations, path))
    return seen


def _scan(operations: LocalOperations, path: CollectionPath) -> list[str]:
    return [document.id for document in operations.documents.scan(path).items]


def _tenant(operations: LocalOperations, slug: str) -> Any:
    tenant, usage = operations.tenants.get(slug), operations.tenants.usage(slug)
    below = [
        (deleted, database.name, database.state, [(c.name, c.state, c.max_document_count) for c in inner])
        for deleted in (False, True)
        for database in operations.databases.list(slug, deleted=deleted).items
        for inner in [
            [] if deleted else operations.collections.list(slug, database.name).items,
            [] if deleted else operations.collections.list(slug, database.name, deleted=True).items,
        ]
    ]
    used = (usage.storage_bytes.used, usage.documents, usage.databases, usage.collections)
    return tenant.status, tenant.storage_quota_bytes, used, below


def _probe(operations: LocalOperations, path: CollectionPath) -> int:
    operations.documents.upsert(path, [document("probe")])
    return operations.documents.delete(path, ids=["probe"])


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
