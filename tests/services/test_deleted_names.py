"""Names, slugs and external IDs of deleted entities: errors say who has them, until when, and the way out."""

import io
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import akidb
from akidb.domain.errors import AlreadyExists
from akidb.operations.archives import CopyTenant, ExportTenant, ImportTenant
from akidb.operations.collections import CreateCollection, DeleteCollection, PurgeCollection
from akidb.operations.databases import CreateDatabase, DeleteDatabase, PurgeDatabase, UpdateDatabase
from akidb.operations.tenants import (
    CreateTenant,
    DeleteTenant,
    GetTenant,
    ListTenants,
    PurgeTenant,
    RestoreTenant,
    UpdateTenant,
)

from .worlds import World

D: dict[str, Any] = {"tenant": "t", "database": "d"}


class Case(NamedTuple):
    """Something is created and deleted; `again` wants its name, which `purge` frees."""

    entity: str
    field: str
    create: Any
    delete: Any
    again: Any
    purge: Any


CASES = {
    "slug": Case(
        "tenant",
        "slug",
        CreateTenant(name="x", slug="taken"),
        DeleteTenant(tenant="taken"),
        CreateTenant(name="y", slug="taken"),
        PurgeTenant(tenant="taken"),
    ),
    "external_id": Case(
        "tenant",
        "external_id",
        CreateTenant(name="x", slug="x", external_id="taken"),
        DeleteTenant(tenant="x"),
        CreateTenant(name="y", slug="y", external_id="taken"),
        PurgeTenant(tenant="x"),
    ),
    "slug of an update": Case(
        "tenant",
        "slug",
        CreateTenant(name="x", slug="taken"),
        DeleteTenant(tenant="taken"),
        UpdateTenant(tenant="t", slug="taken"),
        PurgeTenant(tenant="taken"),
    ),
    "slug of a copy": Case(
        "tenant",
        "slug",
        CreateTenant(name="x", slug="taken"),
        DeleteTenant(tenant="taken"),
        CopyTenant(tenant="t", slug="taken"),
        PurgeTenant(tenant="taken"),
    ),
    "database": Case(
        "database",
        "name",
        CreateDatabase(tenant="t", name="taken"),
        DeleteDatabase(tenant="t", database="taken"),
        CreateDatabase(tenant="t", name="taken"),
        PurgeDatabase(tenant="t", database="taken"),
    ),
    "database of an update": Case(
        "database",
        "name",
        CreateDatabase(tenant="t", name="taken"),
        DeleteDatabase(tenant="t", database="taken"),
        UpdateDatabase(tenant="t", database="d", name="taken"),
        PurgeDatabase(tenant="t", database="taken"),
    ),
    "collection": Case(
        "collection",
        "name",
        CreateCollection(**D, name="taken", dimension=16),
        DeleteCollection(**D, collection="taken"),
        CreateCollection(**D, name="taken", dimension=16),
        PurgeCollection(**D, collection="taken"),
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_error_says_that_a_deleted_one_has_the_name(world: World, case: Case) -> None:
    perform = world.ops.perform
    perform(CreateTenant(name="t", slug="t"))
    perform(CreateDatabase(tenant="t", name="d"))
    made = perform(case.create)
    with pytest.raises(AlreadyExists) as living:
        perform(case.again)
    assert "deleted_at" not in living.value.fields
    perform(case.delete)
    with pytest.raises(AlreadyExists) as caught:
        perform(case.again)
    fields = caught.value.fields
    id = str(getattr(made, f"{case.entity}_id"))
    assert (fields["entity"], fields["field"], fields["value"], fields["id"]) == (
        case.entity,
        case.field,
        "taken",
        id,
    )
    times = [datetime.fromisoformat(fields[each]) for each in ("deleted_at", "purge_at")]
    assert times[1] - times[0] == timedelta(seconds=world.settings.retention_seconds)
    entity, field, deleted_at, purge_at = (
        fields[each] for each in ("entity", "field", "deleted_at", "purge_at")
    )
    assert caught.value.message == (
        f"a deleted {entity} has the {field} 'taken': it was deleted {deleted_at}, and keeps it until it is"
        f" purged, not before {purge_at}; restore or purge {entity} {id}, or take another {field}"
    )
    perform(case.purge)
    perform(case.again)


def test_deleted_tenant_is_no_other_one_when_it_is_created_again(world: World) -> None:
    perform = world.ops.perform
    gone = perform(CreateTenant(name="Acme", external_id="c-1"))
    perform(DeleteTenant(tenant="acme"))
    for external_id in (None, "c-1"):
        with pytest.raises(AlreadyExists, match="a deleted tenant has the") as caught:
            perform(CreateTenant(name="Acme", external_id=external_id))
        assert caught.value.fields["id"] == str(gone.tenant_id)
        assert caught.value.fields["field"] == ("slug" if external_id is None else "external_id")
    new = perform(CreateTenant(name="ACME"))
    other = perform(CreateTenant(name="Acme", external_id="c-2"))
    assert [each.slug[:5] for each in (new, other)] == ["acme-", "acme-"]
    perform(RestoreTenant(tenant=gone.tenant_id))
    assert {each.slug for each in perform(ListTenants()).items} == {"acme", new.slug, other.slug}
    assert perform(GetTenant(tenant="acme")).tenant_id == gone.tenant_id


def test_get_or_create_of_a_deleted_tenant_names_it(place: Path | str) -> None:
    with akidb.connect(place) as client:
        made = client.tenants.create("Acme")
        made.delete()
        with pytest.raises(AlreadyExists) as caught:
            client.tenants.get_or_create("Acme")
        assert caught.value.fields["id"] == str(made.id)
        assert "deleted_at" in caught.value.fields


def test_conflicts_show_metadata_as_json_of_bounded_length(place: Path | str) -> None:
    with akidb.connect(place) as client:
        client.tenants.create("Acme", metadata={"a": None, "b": True})
        with pytest.raises(AlreadyExists) as caught:
            client.tenants.get_or_create("Acme", metadata={"a": ["ä"] * 500})
        error = caught.value
        assert '{"a": null, "b": true}' in error.message
        assert '{"a": ["ä", "ä"' in error.message
        assert len(error.message) < 600
        assert str(error.fields["value"]).startswith('{"a": ["ä"')
        assert len(error.fields["value"]) < 300


def test_import_says_that_a_deleted_tenant_is_in_its_way(world: World) -> None:
    perform = world.ops.perform
    for slug in ("t", "taken"):
        perform(CreateTenant(name=slug, slug=slug, external_id=f"x-{slug}"))
    archive = io.BytesIO()
    perform(ExportTenant(tenant="t"), sink=archive)

    def take_in(**fields: Any) -> Any:
        return perform(ImportTenant(**fields), source=io.BytesIO(archive.getvalue()))

    with pytest.raises(AlreadyExists) as living:
        take_in(new_ids=True, slug="taken")
    assert "deleted_at" not in living.value.fields
    for slug in ("t", "taken"):
        perform(DeleteTenant(tenant=slug))
    for field, value, way_out, fields in (
        ("tenant_id", None, "use new_ids", {}),
        ("slug", "taken", "another slug", {"new_ids": True, "slug": "taken"}),
        ("external_id", "x-t", "another external_id", {"new_ids": True, "slug": "free"}),
    ):
        with pytest.raises(AlreadyExists, match=f"a deleted tenant .* not before .*{way_out}") as caught:
            take_in(**fields)
        assert caught.value.fields["field"] == field
        assert value in {None, caught.value.fields["value"]}
        assert set(caught.value.fields) == {"entity", "field", "value", "id", "deleted_at", "purge_at"}
    with pytest.raises(AlreadyExists) as several:
        take_in()
    assert "more conflicts" in several.value.__notes__[0]
    perform(PurgeTenant(tenant="t"))
    assert take_in(new_ids=True).tenant.slug == "t"
