"""Cases of the metadata layer that no other suite has, through the services, on both databases."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from akidb.domain.errors import AlreadyExists
from akidb.ports.operations import TenantChanges
from akidb.services.runtime import LocalOperations, open_local
from akidb.settings import Settings


@pytest.fixture(params=["sqlite", "postgresql"])
def ops(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LocalOperations]:
    target = tmp_path / "data" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    made = open_local(target, Settings(models_dir=str(tmp_path), default_model="hash"))
    yield made
    made.close()


def test_of_two_fields_that_clash_both_databases_name_the_same(ops: LocalOperations) -> None:
    ops.tenants.create("First", slug="first", external_id="crm-1")
    second = ops.tenants.create("Second", slug="second", external_id="crm-2")
    with pytest.raises(AlreadyExists) as caught:
        ops.tenants.create("Third", slug="first", external_id="crm-1")
    assert caught.value.fields == {"entity": "tenant", "field": "external_id", "value": "crm-1"}
    with pytest.raises(AlreadyExists) as caught:
        ops.tenants.update("second", TenantChanges(slug="first", external_id="crm-1"))
    assert caught.value.fields == {"entity": "tenant", "field": "external_id", "value": "crm-1"}
    with pytest.raises(AlreadyExists) as caught:
        ops.tenants.update("second", TenantChanges(slug="first", external_id="crm-2"))
    assert caught.value.fields == {"entity": "tenant", "field": "slug", "value": "first"}
    assert ops.tenants.get("second") == second
