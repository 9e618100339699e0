"""A conflict that arises while an archive is read is detected in the transaction that imports it."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from akidb.domain.entities import Tenant
from akidb.domain.errors import AkiDBError, AlreadyExists, InvalidState
from akidb.domain.fields import CollectionPath
from akidb.operations.archives import CopyTenant, ImportTenant
from akidb.operations.documents import CountDocuments, UpsertDocuments
from akidb.operations.tenants import DeleteTenant
from akidb.operations.upkeep import CheckStores
from akidb.operations.users import CreateUser
from akidb.services.archives import ArchiveService

from .archived import exported
from .reaching import all_metadata, change_metadata
from .worlds import World, notes, opened

NOTES = CollectionPath("aki-labs", "kb", "notes")
Arise = Callable[[World, Tenant], None]


def take_slug(world: World, _tenant: Tenant) -> None:
    world.tenant("Aki Labs")


def take_external_id(world: World, _tenant: Tenant) -> None:
    world.tenant("Other", external_id="crm-1")


def take_slug_of_deleted(world: World, _tenant: Tenant) -> None:
    world.tenant("Aki Labs")
    world.ops.perform(DeleteTenant(tenant="aki-labs"))


def purge(world: World, tenant: Tenant) -> None:
    """As when another process takes the tenant in, deletes and purges it meanwhile."""
    raw = tenant.tenant_id.raw.hex()
    blob = f"X'{raw}'" if world.ops.directory is not None else f"decode('{raw}', 'hex')"
    change_metadata(world, f"INSERT INTO purged VALUES ({blob}, 'tenant', '2026-01-31T09:15:00.000000Z')")


ARISING: dict[str, tuple[Arise, type[AkiDBError], dict[str, Any]]] = {
    "a slug": (take_slug, AlreadyExists, {"field": "slug", "value": "aki-labs"}),
    "the slug of a deleted one": (take_slug_of_deleted, AlreadyExists, {"field": "slug"}),
    "an external ID": (take_external_id, AlreadyExists, {"field": "external_id", "value": "crm-1"}),
    "a purge": (purge, InvalidState, {"state": "purged", "entity": "tenant"}),
}


@pytest.fixture
def archive(tmp_path: Path) -> tuple[bytes, Tenant]:
    """An archived tenant of another deployment."""
    with opened(tmp_path / "elsewhere") as made:
        tenant = made.tenant(external_id="crm-1")
        made.database()
        made.collection()
        made.ops.perform(UpsertDocuments(**NOTES._asdict(), documents=notes("a", "b")))
        made.ops.perform(
            CreateUser(tenant="aki-labs", email="bob@example.com", password="correct horse battery")
        )
        return exported(made), tenant


@pytest.fixture
def world(place: Path | str) -> Iterator[World]:
    with opened(place) as made:
        yield made


def when_filled(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], None]) -> None:
    """Have something happen when the store is filled, before the metadata are written."""
    fill = ArchiveService._fill

    def fill_then(service: ArchiveService, *arguments: Any) -> Any:
        made = fill(service, *arguments)
        happens()
        return made

    monkeypatch.setattr(ArchiveService, "_fill", fill_then)


@pytest.mark.parametrize("arising", ARISING)
def test_conflict_arising_during_import_is_rejected_and_nothing_is_written(
    arising: str, world: World, archive: tuple[bytes, Tenant], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, tenant = archive
    arise, error, fields = ARISING[arising]
    seen: dict[str, Any] = {}

    def happens() -> None:
        arise(world, tenant)
        seen.update(all_metadata(world))

    with monkeypatch.context() as patch:
        when_filled(patch, happens)
        with pytest.raises(error) as caught:
            world.ops.perform(ImportTenant(), source=io.BytesIO(data))
    assert {name: caught.value.fields[name] for name in fields} == fields
    assert all_metadata(world) == seen
    assert world.ops._runtime.tenant_stores.names() == []
    assert all(finding.ok for finding in world.ops.perform(CheckStores()).items)


def test_import_succeeds_after_conflict_is_avoided(
    world: World, archive: tuple[bytes, Tenant], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, _ = archive
    with monkeypatch.context() as patch:
        when_filled(patch, lambda: take_slug(world, archive[1]))
        with pytest.raises(AlreadyExists):
            world.ops.perform(ImportTenant(), source=io.BytesIO(data))
    world.ops.perform(ImportTenant(slug="second"), source=io.BytesIO(data))
    assert world.ops.perform(CountDocuments(**NOTES._replace(tenant="second")._asdict())) == 2


def test_slug_taken_during_copy_is_rejected_and_nothing_is_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.place()
    world.ops.perform(UpsertDocuments(**NOTES._asdict(), documents=notes("a")))
    stores = world.ops._runtime.tenant_stores
    branch, names = stores.branch, stores.names()
    seen: dict[str, Any] = {}

    def branch_then(*arguments: Any) -> None:
        branch(*arguments)
        assert len(stores.names()) == 2
        world.tenant("Branch")
        seen.update(all_metadata(world))

    monkeypatch.setattr(stores, "branch", branch_then)
    with pytest.raises(AlreadyExists) as caught:
        world.ops.perform(CopyTenant(tenant="aki-labs", slug="branch"))
    assert caught.value.fields["field"] == "slug"
    assert all_metadata(world) == seen
    assert stores.names() == names


def test_dry_run_lists_conflicts_with_deleted_tenants(world: World, archive: tuple[bytes, Tenant]) -> None:
    data, _ = archive
    world.tenant("Aki Labs")
    world.tenant("Other", external_id="crm-1")
    for slug in ("aki-labs", "other"):
        world.ops.perform(DeleteTenant(tenant=slug))
    report = world.ops.perform(ImportTenant(dry_run=True), source=io.BytesIO(data))
    assert [(each.field, each.value, each.reason) for each in report.conflicts] == [
        ("slug", "aki-labs", "taken"),
        ("external_id", "crm-1", "taken"),
    ]
