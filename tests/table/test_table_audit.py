"""Each operation that the table calls audited leaves an entry of its name in every deployment."""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from stage import ROWS, Ids, build, local, perform

from akidb.domain.errors import AkiDBError
from akidb.domain.ids import TenantId
from akidb.operations import Operations
from akidb.operations.audit import ListAuditEntries
from akidb.operations.tenants import ListTenants
from postgres import Server

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))  # its deployments serve here too

ELSEWHERE = {
    "tenant.import": "its sample is a dry run; tests/services/test_archive_audit.py imports",
    "migration.v1_to_v2": "its sample is a dry run, and its entries are called tenant.migrate",
}
"""Audited operations whose sample leaves no entry, and why."""
SERVED = [row for row in ROWS if not row.local]


@pytest.fixture(params=["directory", "http", "postgresql"])
def operations(
    request: pytest.FixtureRequest, tmp_path: Path, postgres_server: Server
) -> Iterator[Operations]:
    from congruence_deployments import server

    if request.param == "http":
        with server(tmp_path / "data", tmp_path) as url, local(url, tmp_path) as http:
            yield http
    else:
        url = postgres_server.url() if request.param == "postgresql" else ""
        with local(url or tmp_path / "data", tmp_path) as here:
            yield here
        if url:
            postgres_server.drop(url)


def trail(operations: Operations, known: set[TenantId]) -> Counter[str]:
    """How many entries of each action there are, of all tenants that ever were."""
    for deleted in (False, True):
        known |= {
            each.tenant_id for each in operations.perform(ListTenants(limit=1000, deleted=deleted)).items
        }
    return Counter(
        entry.action
        for tenant_id in known
        for entry in operations.perform(ListAuditEntries(tenant=tenant_id, limit=1000)).items
    )


def test_audited_operations_leave_an_entry_of_their_name(operations: Operations, tmp_path: Path) -> None:
    ids: dict[str, Ids] = build(operations)
    known = {each.tenant for each in ids.values()}
    before = trail(operations, known)
    left = {}
    for row in SERVED:
        try:
            perform(operations, row, tmp_path)
        except AkiDBError as error:
            raise AssertionError(row.name) from error
        after = trail(operations, known)
        left[row.name] = set(after - before)
        before = after
    wanted = {row.name: {row.name} if row.audited and row.name not in ELSEWHERE else set() for row in SERVED}
    # The sample of an import exports what it brings in.
    assert left.pop("tenant.import") == {"tenant.export"}
    del wanted["tenant.import"]
    assert left == wanted
