"""`/metrics` under load: parsed by the Prometheus client, fully documented, without tenant data."""

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from akidb.observe.metrics import BUCKETS_SECONDS

from .conftest import vector
from .running import client, process

PAGE = Path(__file__).parents[2] / "docs/observability.md"
ROW = re.compile(r"\| `(akidb_\w+)` \| (\w+) \| ((?:`\w+`(?:, )?)*) ?\| .+ \|")

Families = dict[str, Metric]


def _work(http: httpx.Client, name: str) -> None:
    """Every kind of tenant operation, some of which fail."""
    path = f"/v1/tenants/{name}"
    assert http.post("/v1/tenants", json={"name": name, "slug": name}).status_code == 201
    assert http.post("/v1/tenants", json={"name": name, "slug": name}).status_code == 409
    assert http.post(f"{path}/databases", json={"name": "kb"}).status_code == 201
    notes = {"name": "notes", "dimension": 16}
    for _ in range(2):
        again = http.post(f"{path}/databases/kb/collections", json=notes, headers={"idempotency-key": name})
        assert again.status_code == 201
    collection = f"{path}/databases/kb/collections/notes"
    documents = {"documents": [{"id": "secret-document", "text": "secret text", "vector": vector(1.0)}]}
    for _ in range(2):
        upserted = http.post(f"{collection}/documents", json=documents, headers={"idempotency-key": name})
        assert upserted.status_code == 200
    assert http.post(f"{collection}/search", json={"vector": vector(1.0), "top_k": 1}).status_code == 200
    assert http.get(f"{path}/databases/none").status_code == 404
    assert http.post(f"{path}/suspend", json={"reason": "secret reason"}).status_code == 200


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The metrics of a server with eight concurrent clients."""
    with process(tmp_path_factory.mktemp("observed") / "data") as running:

        def work(number: int) -> None:
            with client(running.url) as http:
                _work(http, f"secret-tenant-{number}")

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        with client(running.url) as http:
            while any(thread.is_alive() for thread in threads):
                assert http.get("/metrics").status_code == 200
            answer = http.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        yield answer.text


@pytest.fixture(scope="module")
def families(text: str) -> Families:
    return {family.name: family for family in text_string_to_metric_families(text)}


def _value(families: Families, sample_name: str, **labels: str) -> float:
    """The value of the one sample with these labels; other labels are ignored."""
    found = [
        sample.value
        for family in families.values()
        for sample in family.samples
        if sample.name == sample_name and labels.items() <= sample.labels.items()
    ]
    assert len(found) == 1, (sample_name, labels, found)
    return found[0]


def _calls(families: Families, store: str, repository: str, operation: str, code: str = "ok") -> float:
    return _value(
        families,
        "akidb_repository_call_duration_seconds_count",
        store=store,
        repository=repository,
        operation=operation,
        code=code,
    )


def test_repository_calls_are_counted_by_code(families: Families) -> None:
    assert _calls(families, "metadata", "tenants", "create") == 8
    assert _calls(families, "metadata", "tenants", "create", "already_exists") == 8
    assert _calls(families, "metadata", "databases", "get", "not_found") == 8
    assert _calls(families, "tenant", "documents", "upsert") == 8
    writers = _value(families, "akidb_gate_wait_seconds_count", store="metadata")
    assert 5 <= _calls(families, "metadata", "transaction", "commit") <= writers  # who waits shares one
    assert _calls(families, "tenant", "transaction", "commit") >= 8


def test_operations_are_counted_by_operation_name_and_code(families: Families) -> None:
    counted = "akidb_operation_duration_seconds_count"
    assert _value(families, counted, operation="tenant.create", code="ok") == 8
    assert _value(families, counted, operation="tenant.create", code="already_exists") == 8
    assert _value(families, counted, operation="document.search", code="ok") == 8


def test_repository_call_durations_are_in_expected_buckets(families: Families) -> None:
    name = "akidb_repository_call_duration_seconds"
    labels = {"store": "metadata", "repository": "tenants", "operation": "create", "code": "ok"}
    buckets = [
        (float(sample.labels["le"]), sample.value)
        for sample in families[name].samples
        if sample.name == f"{name}_bucket" and labels.items() <= sample.labels.items()
    ]
    assert [bound for bound, _ in buckets] == [*BUCKETS_SECONDS, float("inf")]
    assert buckets[0] == (5e-6, 0)
    assert dict(buckets)[10.0] == 8
    assert 8e-6 < _value(families, f"{name}_sum", **labels) < 80


def test_store_state_gauges_are_exported(families: Families) -> None:
    assert _value(families, "akidb_stores_open", store="metadata") == 1
    assert _value(families, "akidb_stores_open", store="tenant") == 8
    assert _value(families, "akidb_wal_bytes", store="metadata") > 100_000
    sum_bytes = _value(families, "akidb_wal_bytes", store="tenant")
    assert sum_bytes / 8 <= _value(families, "akidb_wal_largest_bytes", store="tenant") < sum_bytes
    assert _value(families, "akidb_connections", store="metadata", state="idle") >= 1
    assert _value(families, "akidb_connections", store="metadata", state="in_use") == 0
    assert _value(families, "akidb_connections_opened_total", store="tenant") >= 8
    assert _value(families, "akidb_outbox_entries") == 0
    assert _value(families, "akidb_gate_waiting", store="metadata") == 0
    assert _value(families, "akidb_gate_wait_seconds_count", store="metadata") >= 8 * 5


def test_replayed_responses_are_counted_by_store(families: Families) -> None:
    assert _value(families, "akidb_answers_repeated_total", store="metadata") == 8
    assert _value(families, "akidb_answers_repeated_total", store="tenant") == 8


def test_documentation_lists_exactly_exported_metrics(families: Families) -> None:
    rows = {name: (kind, re.findall(r"\w+", labels)) for name, kind, labels in ROW.findall(PAGE.read_text())}
    shown = {
        f"{name}_total" if family.type == "counter" else name: family
        for name, family in families.items()
        if name.startswith("akidb_") and not name.endswith("_created")
    }
    assert set(rows) == set(shown)
    for name, family in shown.items():
        kind, labels = rows[name]
        assert family.type == kind, name
        found = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert not family.samples or found == set(labels), name
        assert family.documentation


def test_metrics_contain_no_tenant_data(text: str) -> None:
    assert "secret" not in text
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-7", text)
