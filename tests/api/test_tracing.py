"""Tracing with the OpenTelemetry SDK: an in-process server, and a server process that exports spans."""

import http.server
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import akidb

from .running import client, process, threaded

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"

_exporter = InMemorySpanExporter()


@pytest.fixture
def spans() -> InMemorySpanExporter:
    """The exporter for all spans of this process, which can have only one tracer provider."""
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(SimpleSpanProcessor(_exporter))
        trace.set_tracer_provider(provider)
    _exporter.clear()
    return _exporter


def _by_name(spans: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in spans.get_finished_spans()}


def _is_child(span: ReadableSpan, parent: ReadableSpan) -> bool:
    return span.parent is not None and span.parent.span_id == parent.context.span_id


def test_request_span_contains_operation_and_repository_call_spans(
    tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    with threaded(tmp_path / "data", tracing="on") as running, client(running.url) as http:
        spans.clear()
        sent = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-request-id": "traced-1"}
        tenant = http.post("/v1/tenants", json={"name": "A secret", "slug": "secret"}, headers=sent).json()
    found = _by_name(spans)
    served = found["POST /v1/tenants"]
    assert f"{served.context.trace_id:032x}" == TRACE
    assert served.parent is not None
    assert f"{served.parent.span_id:016x}" == PARENT
    assert served.kind is trace.SpanKind.SERVER
    operation = found["akidb.tenant.create"]
    assert _is_child(operation, served)
    calls = [found[f"metadata.{name}"] for name in ("tenants.create", "audit.add", "transaction.commit")]
    for call in calls:
        assert _is_child(call, operation)
        assert call.attributes is not None
        assert call.attributes["db.system"] == "sqlite"
        assert call.start_time is not None
        assert call.end_time is not None
        assert operation.start_time is not None
        assert operation.start_time <= call.start_time + 1_000_000 <= call.end_time + 1_000_000
    known = {"akidb.tenant_id": tenant["tenant_id"], "akidb.request_id": "traced-1"}
    for span in (served, operation, calls[-1]):
        assert span.attributes is not None
        assert known.items() <= span.attributes.items(), span.name
    assert served.attributes is not None
    assert served.attributes["http.route"] == "/v1/tenants"
    assert served.attributes["http.response.status_code"] == 201
    assert [event.name for event in operation.events] == ["gate passed"]
    assert "secret" not in "".join(span.to_json() for span in spans.get_finished_spans())


def test_span_records_only_error_code(tmp_path: Path, spans: InMemorySpanExporter) -> None:
    with threaded(tmp_path / "data", tracing="on") as running, client(running.url) as http:
        spans.clear()
        assert http.get("/v1/tenants/secret").status_code == 404
        found = _by_name(spans)
    for name in ("GET /v1/tenants/{tenant}", "akidb.tenant.get", "metadata.tenants.get"):
        attributes = found[name].attributes
        assert attributes is not None
        assert attributes["error.type"] == "not_found"
        assert not [event for event in found[name].events if event.name == "exception"]
    # What the client did wrong is no error of the server.
    assert found["GET /v1/tenants/{tenant}"].status.status_code is trace.StatusCode.UNSET
    assert found["akidb.tenant.get"].status.status_code is trace.StatusCode.ERROR
    assert "secret" not in "".join(span.to_json() for span in spans.get_finished_spans())


def test_http_client_propagates_callers_trace(tmp_path: Path, spans: InMemorySpanExporter) -> None:
    with threaded(tmp_path / "data", tracing="on") as running, akidb.connect(running.url) as far:
        spans.clear()
        with trace.get_tracer("test").start_as_current_span("the caller's") as caller:
            far.tenants.create("Aki Labs")
        far.tenants.get("aki-labs")
    found = _by_name(spans)
    assert _is_child(found["POST /v1/tenants"], found["the caller's"])
    trace_id = caller.get_span_context().trace_id
    assert found["metadata.tenants.create"].context.trace_id == trace_id
    assert found["metadata.tenants.get"].context.trace_id != trace_id


def test_in_process_operation_span_is_child_of_callers_span(
    tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    with akidb.connect(tmp_path / "data", tracing="on") as near:
        spans.clear()
        with trace.get_tracer("test").start_as_current_span("the caller's"):
            notes = (
                near.tenants.create("Aki").databases.create("kb").collections.create("notes", dimension=16)
            )
            notes.upsert([{"id": "a", "vector": [1.0] * 16}])
    found = _by_name(spans)
    assert _is_child(found["akidb.document.upsert"], found["the caller's"])
    assert _is_child(found["tenant.documents.upsert"], found["akidb.document.upsert"])
    assert _is_child(found["tenant.transaction.commit"], found["akidb.document.upsert"])


def test_log_record_has_callers_trace_id(
    tmp_path: Path, spans: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    del spans
    with (
        akidb.connect(tmp_path / "data", slow_operation_seconds=1e-9) as near,
        trace.get_tracer("test").start_as_current_span("the caller's") as caller,
    ):
        near.tenants.create("Aki")
    [record] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert vars(record)["trace_id"] == f"{caller.get_span_context().trace_id:032x}"


def test_tracing_off_creates_no_spans(tmp_path: Path, spans: InMemorySpanExporter) -> None:
    with threaded(tmp_path / "data") as running, client(running.url) as http:
        http.post("/v1/tenants", json={"name": "Aki"})
    assert spans.get_finished_spans() == ()


def test_tracing_off_does_not_import_opentelemetry(tmp_path: Path) -> None:
    program = (
        "import sys, akidb; from akidb.api.app import create_app; import akidb.api.server\n"
        f"near = akidb.connect({str(tmp_path / 'data')!r})\n"
        "near.tenants.create('Aki'); akidb.metrics(); near.tenants.get('aki'); near.close()\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("target", ["data", "http://127.0.0.1:1", "unix:///nowhere/akidb.sock"])
def test_tracing_setting_is_rejected_without_opentelemetry(tmp_path: Path, target: str) -> None:
    target = str(tmp_path / target) if target == "data" else target
    program = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "import akidb\n"
        f"try: akidb.connect({target!r}, tracing='on')\n"
        "except akidb.Unavailable as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout.endswith("(no module 'opentelemetry'): pip install 'akidb[tracing]'\n")
    assert not (tmp_path / "data/metadata.db").exists()


@contextmanager
def _collector() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """An OTLP/HTTP collector, and the requests it received."""
    got: list[ExportTraceServiceRequest] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", got
        finally:
            server.shutdown()
            thread.join()


def test_server_exports_spans_to_collector_from_environment(tmp_path: Path) -> None:
    with _collector() as (url, got):
        environment = {"AKIDB_TRACING": "on", "OTEL_EXPORTER_OTLP_ENDPOINT": url}
        with process(tmp_path / "data", **environment) as running:
            with client(running.url) as http:
                http.get("/v1/tenants/none", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
            assert running.stop() == 0
            log = running.log.read_text()
    received = [
        (span.name, span.trace_id.hex(), attribute.value.string_value)
        for request in got
        for of_resource in request.resource_spans
        for attribute in of_resource.resource.attributes
        if attribute.key == "service.name"
        for of_scope in of_resource.scope_spans
        for span in of_scope.spans
    ]
    for name in ("GET /v1/tenants/{tenant}", "akidb.tenant.get", "metadata.tenants.get"):
        assert (name, TRACE, "akidb") in received
    assert f'"trace_id":"{TRACE}"' in log


def test_unreachable_collector_does_not_block_server(tmp_path: Path) -> None:
    environment = {"AKIDB_TRACING": "on", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    with process(tmp_path / "data", OTEL_EXPORTER_OTLP_TIMEOUT="1", **environment) as running:
        with client(running.url) as http:
            assert http.post("/v1/tenants", json={"name": "Aki"}).status_code == 201
        assert running.stop() == 0
        assert all(line.startswith("{") for line in running.log.read_text().splitlines())
