"""An operation that meets a purge of its tenant finds no tenant; it is never told that a store is closed."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from akidb.documents.base import SqlTenantStore
from akidb.documents.postgresql import PostgresTenantStore
from akidb.documents.sqlite import SqliteTenantStore
from akidb.domain.errors import NotFound
from akidb.domain.fields import CollectionPath
from akidb.operations.archives import CopyTenant, CreateBackup, ExportTenant
from akidb.operations.changes import GetCollectionChanges
from akidb.operations.documents import (
    CountDocuments,
    DeleteDocuments,
    GetDocuments,
    ScanDocuments,
    SearchDocuments,
    UpdateDocuments,
    UpsertDocuments,
)
from akidb.operations.tenants import DeleteTenant, GetTenant, GetUsage, PurgeTenant
from akidb.operations.upkeep import CheckStores

from .worlds import DIMENSION, World, notes

PATH = CollectionPath("aki-labs", "kb", "notes")
VECTOR = [1.0] * DIMENSION
OPERATIONS: dict[str, Callable[[World], Any]] = {
    "upsert": lambda world: world.on(PATH, UpsertDocuments, documents=notes("b")),
    "update": lambda world: world.on(PATH, UpdateDocuments, ids=["a"], metadata={"x": 1}),
    "delete": lambda world: world.on(PATH, DeleteDocuments, ids=["a"]),
    "get": lambda world: world.on(PATH, GetDocuments, ids=["a"]),
    "scan": lambda world: world.on(PATH, ScanDocuments),
    "count": lambda world: world.on(PATH, CountDocuments),
    "search": lambda world: world.on(PATH, SearchDocuments, vector=VECTOR),
    "changes": lambda world: world.on(PATH, GetCollectionChanges, since=0),
    "usage": lambda world: world.ops.perform(GetUsage(tenant="aki-labs")),
    "export": lambda world: world.ops.perform(ExportTenant(tenant="aki-labs"), sink=io.BytesIO()),
    "copy": lambda world: world.ops.perform(CopyTenant(tenant="aki-labs", slug="copy")),
}


@pytest.fixture
def world(world: World) -> World:
    world.place()
    world.on(PATH, UpsertDocuments, documents=notes("a"))
    return world


@contextmanager
def purged_at_next_use(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Purge the tenant between the opening of its store and the first statement on it."""
    tenant = world.ops.perform(GetTenant(tenant="aki-labs"))
    purged: list[bool] = []

    def after_purge(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(store: SqlTenantStore, *arguments: Any, **named: Any) -> Any:
            if not purged and store._sql.own.get("own_tenant_id", tenant.tenant_id) == tenant.tenant_id:
                purged.append(True)
                world.ops.perform(DeleteTenant(tenant=tenant.tenant_id))
                world.ops.perform(PurgeTenant(tenant=tenant.tenant_id))
            return method(store, *arguments, **named)

        return call

    with monkeypatch.context() as patch:
        for kind, name in (
            *((SqlTenantStore, name) for name in ("read", "transaction", "usage", "check")),
            (SqliteTenantStore, "image"),
            (PostgresTenantStore, "image"),
        ):
            patch.setattr(kind, name, after_purge(getattr(kind, name)))
        yield
    assert purged


@pytest.mark.parametrize("operation", OPERATIONS)
def test_operation_that_meets_purge_finds_no_tenant(
    operation: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with purged_at_next_use(world, monkeypatch), pytest.raises(NotFound):
        OPERATIONS[operation](world)
    assert [finding for finding in world.ops.perform(CheckStores()).items if not finding.ok] == []


def test_backup_that_meets_purge_omits_tenant(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.place("Other")
    world.on(CollectionPath("other", "kb", "notes"), UpsertDocuments, documents=notes("x"))
    with purged_at_next_use(world, monkeypatch):
        world.ops.perform(CreateBackup(), sink=io.BytesIO())


def test_doctor_that_meets_purge_finds_nothing_wrong(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with purged_at_next_use(world, monkeypatch):
        findings = world.ops.perform(CheckStores()).items
    assert [finding for finding in findings if not finding.ok] == []
