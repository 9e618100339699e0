"""A transaction aborted by a real PostgreSQL deadlock is retried transparently and counted."""

import threading
import time
from collections.abc import Iterator

import prometheus_client
import psycopg
import pytest

from akidb.deployment.local import open_local
from akidb.observe import telemetry
from akidb.observe.metrics import ProcessMetrics
from akidb.operations.audit import ListAuditEntries
from akidb.operations.tenants import CreateTenant, GetTenant, SuspendTenant
from akidb.settings import Settings


@pytest.fixture
def figures() -> Iterator[prometheus_client.CollectorRegistry]:
    """Metrics from now on."""
    metrics = ProcessMetrics()
    registry = prometheus_client.CollectorRegistry()
    registry.register(metrics)
    telemetry.listen(metrics)
    yield registry
    telemetry.leave(metrics)


def _waiting(raw: psycopg.Connection) -> int:
    found = raw.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
    assert found is not None
    return int(found[0])


def test_deadlocked_transaction_is_retried_and_counted(
    postgres_url: str, figures: prometheus_client.CollectorRegistry
) -> None:
    operations = open_local(postgres_url, Settings(default_model="hash"))
    try:
        tenant = operations.perform(CreateTenant(name="Aki Labs"))
        with psycopg.connect(postgres_url) as other, psycopg.connect(postgres_url, autocommit=True) as watch:
            other.execute("SET deadlock_timeout = '60s'")  # so that AkiDB is the one who is given up
            other.execute("LOCK TABLE akidb_metadata.audit_entries IN EXCLUSIVE MODE")
            suspend = SuspendTenant(tenant="aki-labs")
            thread = threading.Thread(target=operations.perform, args=(suspend,))
            thread.start()
            while not _waiting(watch):
                time.sleep(0.01)
            # The change holds the tenant and waits for the table; this one does it the other way round.
            other.execute(
                "SELECT 1 FROM akidb_metadata.tenants WHERE tenant_id = %s FOR UPDATE",
                (str(tenant.tenant_id),),
            )
            other.rollback()
            thread.join(30)
        assert operations.perform(GetTenant(tenant="aki-labs")).status == "suspended"
        assert [entry.action for entry in operations.perform(ListAuditEntries(tenant="aki-labs")).items] == [
            "tenant.create",
            "tenant.suspend",
        ]
        assert figures.get_sample_value("akidb_retries_total", {"store": "metadata"}) == 1
    finally:
        operations.close()
