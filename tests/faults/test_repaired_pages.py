"""A store with a page that cannot be read does not keep `akidb doctor --repair` from the stores of others."""

from contextlib import closing
from pathlib import Path

import pytest
from fault_tools import add_tenant, at, documents, opened
from wrong_values import put

from akidb.operations.documents import UpsertDocuments
from akidb.operations.tenants import GetTenant
from akidb.sql.sqlite_library import library

PAGE_BYTES = 4096


@pytest.mark.parametrize("table", ["documents", "tombstones"])
def test_plan_goes_on_after_a_page_that_cannot_be_read(table: str, tmp_path: Path) -> None:
    directory = tmp_path / "data"
    paths = []
    with opened(directory) as operations:
        for slug in ("broken", "other"):
            add_tenant(operations, slug, "c")
            operations.perform(UpsertDocuments(**at(slug)._asdict(), documents=documents(3)))
            tenant = operations.perform(GetTenant(tenant=slug))
            paths.append(directory / "tenants" / f"{tenant.tenant_id}.db")
    broken, other = paths
    with closing(library.connect(broken)) as connection:
        statement = "SELECT rootpage FROM sqlite_master WHERE name = ?"
        (page,) = connection.execute(statement, (table,)).fetchone()
    with broken.open("r+b") as file:
        file.seek((page - 1) * PAGE_BYTES)
        file.write(b"\xa5" * 64)
    assert put(other, "collections", "document_count", "2")
    with opened(directory) as operations:
        repairing = operations.repairing()
        plan = repairing.plan()
        assert [(each.store, each.kind) for each in plan] == [(broken.stem, "leave"), (other.stem, "rebuild")]
        repairing.carry_out(plan)
        assert [each.store for each in repairing.plan()] == [broken.stem]
