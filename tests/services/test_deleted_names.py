"""Names, slugs and external IDs of deleted entities: errors say who has them, until when, and the way out."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import akidb
from akidb.domain.errors import AlreadyExists
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


def test_derived_slug_of_a_deleted_tenant_gets_a_suffix(world: World) -> None:
    perform = world.ops.perform
    gone = perform(CreateTenant(name="Acme"))
    perform(DeleteTenant(tenant="acme"))
    new = perform(CreateTenant(name="Acme"))
    assert new.slug.startswith("acme-")
    with pytest.raises(AlreadyExists) as caught:  # as for a tenant that was never deleted
        perform(CreateTenant(name="Acme"))
    assert caught.value.fields["value"] == new.slug
    perform(RestoreTenant(tenant=gone.tenant_id))
    assert {each.slug for each in perform(ListTenants()).items} == {"acme", new.slug}
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
