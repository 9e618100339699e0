"""Metrics of an application that uses AkiDB in process: operations, waits and open resources."""

import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import prometheus_client
import pytest

import akidb
from akidb.domain.errors import InvalidArgument, NotFound, Overloaded, Unavailable
from akidb.observe import operations as places
from akidb.observe import telemetry
from akidb.observe.metrics import ProcessMetrics
from akidb.operations.databases import CreateDatabase
from akidb.operations.documents import UpsertDocuments
from akidb.operations.tenants import ActivateTenant, GetTenant, ListTenants, SuspendTenant
from akidb.sql.files import create_file
from akidb.sql.gate import FairGate
from akidb.sql.sqlite import SqliteFile

from .worlds import World, keyed, notes, opened


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Iterator[prometheus_client.CollectorRegistry]:
    """Metrics of everything opened from now on, in a registry as an application would use."""
    monkeypatch.setattr(places, "sources", ())
    metrics = ProcessMetrics()
    registry = prometheus_client.CollectorRegistry()
    registry.register(metrics)
    telemetry.listen(metrics)
    yield registry
    telemetry.leave(metrics)


def _counted(figures: prometheus_client.CollectorRegistry, name: str, **labels: str) -> float:
    return figures.get_sample_value(name, labels) or 0.0


def test_operations_are_counted_by_result_code(
    tmp_path: Path, figures: prometheus_client.CollectorRegistry
) -> None:
    with opened(tmp_path) as world:
        world.tenant()
        world.ops.perform(GetTenant(tenant="aki-labs"))
        with pytest.raises(NotFound):
            world.ops.perform(GetTenant(tenant="none"))
        counted = "akidb_operation_duration_seconds_count"
        assert _counted(figures, counted, operation="tenant.get", code="ok") == 1
        assert _counted(figures, counted, operation="tenant.get", code="not_found") == 1
        assert _counted(figures, "akidb_connections", store="metadata", state="idle") == 1
    assert figures.get_sample_value("akidb_connections", {"store": "metadata", "state": "idle"}) is None


def test_metrics_of_two_open_directories_are_summed(
    tmp_path: Path, figures: prometheus_client.CollectorRegistry
) -> None:
    with opened(tmp_path / "one") as one, opened(tmp_path / "two") as two:
        for world in (one, two):
            world.on(world.place(), UpsertDocuments, documents=notes("a"))
        assert _counted(figures, "akidb_stores_open", store="metadata") == 2
        assert _counted(figures, "akidb_stores_open", store="tenant") == 2
        one_file = one.store_file(one.ops.perform(GetTenant(tenant="aki-labs")))
        assert _counted(figures, "akidb_wal_bytes", store="tenant") == sum(
            file.with_name(f"{file.name}-wal").stat().st_size
            for file in (one_file, two.store_file(two.ops.perform(GetTenant(tenant="aki-labs"))))
        )


def test_pending_outbox_entries_are_reported(
    tmp_path: Path, figures: prometheus_client.CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as world:
        world.on(world.place(), UpsertDocuments, documents=notes("a"))
        assert figures.get_sample_value("akidb_outbox_entries") == 0
        store = world.store_file(world.ops.perform(GetTenant(tenant="aki-labs")))
        world.reopen()
        moved = store.rename(store.with_suffix(".away"))
        with pytest.raises(Unavailable):
            world.ops.perform(SuspendTenant(tenant="aki-labs"))
        assert figures.get_sample_value("akidb_outbox_entries") == 1
        moved.rename(store)
        world.ops.perform(ActivateTenant(tenant="aki-labs"))
        assert figures.get_sample_value("akidb_outbox_entries") == 0
        # A metadata store that does not answer costs a second and its own figure, no other.
        monkeypatch.setattr("akidb.observe.metrics.ASKING_SECONDS", 0.05)
        held = threading.Event()
        runtime = world.ops._runtime
        monkeypatch.setattr(runtime, "outbox_depth", lambda: held.wait(30) and 0)
        assert figures.get_sample_value("akidb_outbox_entries") is None
        assert _counted(figures, "akidb_stores_open", store="tenant") == 1
        held.set()


def test_replayed_request_is_counted_for_store_holding_its_response(
    tmp_path: Path, figures: prometheus_client.CollectorRegistry
) -> None:
    with opened(tmp_path) as world:
        path = world.place()
        for _ in range(3):
            with keyed(idempotency_key="k"):
                world.ops.perform(CreateDatabase(tenant="aki-labs", name="again"))
                world.on(path, UpsertDocuments, documents=notes("a"))
    assert _counted(figures, "akidb_answers_repeated_total", store="metadata") == 2
    assert _counted(figures, "akidb_answers_repeated_total", store="tenant") == 2


def test_gate_waits_and_timeouts_are_reported(figures: prometheus_client.CollectorRegistry) -> None:
    gate = FairGate("kb.db", timeout_seconds=0.05, kind="metadata")
    with gate.pass_through(), pytest.raises(Overloaded), gate.pass_through():
        raise AssertionError
    assert _counted(figures, "akidb_gate_timeouts_total", store="metadata") == 1
    patient = FairGate("kb.db", kind="tenant")

    def wait() -> None:
        with patient.pass_through():
            pass

    with patient.pass_through():
        thread = threading.Thread(target=wait)
        thread.start()
        while not patient.waiting:
            time.sleep(0.001)
        time.sleep(0.05)
    thread.join()
    assert _counted(figures, "akidb_gate_wait_seconds_count", store="tenant") == 2
    assert 0.05 <= _counted(figures, "akidb_gate_wait_seconds_sum", store="tenant") < 5


def test_queued_writers_are_reported_per_store(tmp_path: Path) -> None:
    create_file(tmp_path / "kb.db")
    file = SqliteFile(tmp_path / "kb.db")

    def write() -> None:
        with file.write():
            pass

    threads = [threading.Thread(target=write) for _ in range(3)]
    with file.write():
        for thread in threads:
            thread.start()
        while file.figures().gate_waiting < 3:
            time.sleep(0.001)
        assert file.figures().connections_in_use == 1
    for thread in threads:
        thread.join()
    assert file.figures().gate_waiting == 0
    file.close()


def test_checkpoints_are_counted(tmp_path: Path, figures: prometheus_client.CollectorRegistry) -> None:
    create_file(tmp_path / "kb.db")
    file = SqliteFile(tmp_path / "kb.db", synchronous="normal")
    with file.write() as connection:
        connection.exec_driver_sql("CREATE TABLE t (x)")
    for _ in range(10):
        with file.write() as connection:
            connection.exec_driver_sql("INSERT INTO t VALUES (randomblob(100))")
    assert _counted(figures, "akidb_checkpoints_total", store="tenant") == 0
    for _ in range(3):
        time.sleep(0.02)  # a file's time moves in steps of the kernel's clock
        with file.write() as connection:  # 1,000 pages of 4 KiB and more
            connection.exec_driver_sql("INSERT INTO t VALUES (randomblob(5000000))")
    assert _counted(figures, "akidb_checkpoints_total", store="tenant") == 3
    file.close()


def test_package_metrics_count_from_first_call() -> None:
    code = (
        "import sys, tempfile, akidb, prometheus_client\n"
        "with akidb.connect(tempfile.mkdtemp()) as near:\n"
        "    near.tenants.create('One')\n"
        "    prometheus_client.REGISTRY.register(akidb.metrics())\n"
        "    assert akidb.metrics() is akidb.metrics()\n"
        "    near.tenants.create('Two')\n"
        "    text = prometheus_client.generate_latest().decode()\n"
        'assert \'akidb_operation_duration_seconds_count{code="ok",operation="tenant.create"} 1.0\' in text\n'
        "assert 'process_cpu_seconds_total' in text\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_programs_in_docs_page_run(tmp_path: Path) -> None:
    page = Path(__file__).parents[2] / "docs/observability.md"
    metrics, logs = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    use = "with akidb.connect('data', slow_operation_seconds=1e-9) as near: near.tenants.create('Aki')\n"
    shown = _output(f"{metrics}\n{use}\n{metrics.splitlines()[-1]}", tmp_path)
    assert 'akidb_operation_duration_seconds_count{code="ok",operation="tenant.create"} 1.0' in shown
    logged = _output(
        f"import akidb, sys\nsys.stderr = sys.stdout\n{logs}\n{use.replace('Aki', 'Bo')}", tmp_path
    )
    assert re.search(r"^WARNING slow operation tenant=[0-9a-f-]{36} request=None$", logged, re.MULTILINE)


def _output(program: str, place: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=place, check=True, capture_output=True, text=True
    )
    return done.stdout


def test_slow_operation_is_logged_with_request_and_tenant(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path, slow_operation_seconds=1e-9) as world:
        with akidb.request(request_id="slow-1"):
            tenant = world.tenant()
        with pytest.raises(NotFound):
            world.ops.perform(GetTenant(tenant="none"))
    created, failed = (record for record in caplog.records if record.message == "slow operation")
    assert (created.levelno, created.name) == (logging.WARNING, "akidb.services")
    assert vars(created)["fields"].items() >= {"operation": "tenant.create", "code": "ok"}.items()
    assert vars(created)["request_id"] == "slow-1"
    assert vars(created)["tenant_id"] == str(tenant.tenant_id)
    assert vars(created)["trace_id"] is None
    # What one call was about says nothing of the next.
    assert vars(failed)["fields"]["code"] == "not_found"
    assert (vars(failed)["request_id"], vars(failed)["tenant_id"]) == (None, None)


@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_fast_operation_is_not_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, seconds: float
) -> None:
    with opened(tmp_path, slow_operation_seconds=seconds) as world:
        world.tenant()
    assert not caplog.records


def test_connections_of_one_process_must_share_observability_settings(tmp_path: Path) -> None:
    with opened(tmp_path) as world:
        for name, value in (("slow_operation_seconds", 7.0), ("tracing", "on")):
            with pytest.raises(InvalidArgument, match=f"^{name}: is "):
                World(tmp_path, **{name: value})
        assert world.ops.perform(ListTenants()).items == []
