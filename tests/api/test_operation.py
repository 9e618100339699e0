"""Endpoints for operators: health, metrics, logs, docs page."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from akidb.deployment.note import SOCKET_NAME
from akidb.operations.embeddings import GetModel, ListModels, PullModel

from .conftest import problem
from .running import carry_out, client, process, threaded


def test_health_routes_return_ok(http: httpx.Client) -> None:
    for path in ("/health/live", "/health/ready"):
        answer = http.get(path)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_damaged_model_makes_server_unready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with threaded(tmp_path / "data") as running, client(running.url) as http:
        from akidb.domain.errors import Unavailable

        def damaged() -> None:
            raise Unavailable("the model's file has another hash")

        monkeypatch.setattr(running.operations, "ready", damaged)
        problem(http.get("/health/ready"), 503, "unavailable")
        assert http.get("/health/live").status_code == 200


def test_model_path_is_returned_only_over_unix_socket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with threaded(tmp_path / "data") as running:
        model = running.operations.perform(GetModel(model="hash"))
        here = msgspec.structs.replace(model, path="/srv/models/hash")
        carry_out(
            monkeypatch,
            running,
            {GetModel: lambda _: here, PullModel: lambda _: here, ListModels: lambda _: [here]},
        )
        unix = httpx.HTTPTransport(uds=str(tmp_path / "data" / SOCKET_NAME))
        with client(running.url) as http, httpx.Client(base_url=running.url, transport=unix) as operator:
            for by, path in ((http, None), (operator, here.path)):
                answers = [by.get("/v1/models/hash"), by.post("/v1/models/hash/pull", json={})]
                shown = [*(answer.json() for answer in answers), *by.get("/v1/models").json()["data"]]
                assert [model["path"] for model in shown] == [path] * 3


def test_metrics_are_labelled_by_route_not_path(tmp_path: Path) -> None:
    with threaded(tmp_path / "data") as running, client(running.url) as http:
        http.get("/v1/tenants/secret-tenant")
        http.get("/v1/tenants/another-tenant")
        http.get("/no/such/route")
        http.request("PROPFIND", "/v1/tenants")
        answer = http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    text = answer.text
    assert 'requests_total{method="GET",route="/v1/tenants/{tenant}",status="404"} 2.0' in text
    assert 'requests_total{method="GET",route="none",status="404"} 1.0' in text
    assert 'requests_total{method="other",route="none",status="405"} 1.0' in text
    assert 'duration_seconds_count{method="GET",route="/v1/tenants/{tenant}"} 2.0' in text
    assert "akidb_http_requests_in_flight 1.0" in text
    assert re.search(r"^process_resident_memory_bytes \d", text, re.MULTILINE)
    assert "secret" not in text
    assert "PROPFIND" not in text


def _lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_each_request_is_one_log_line(tmp_path: Path) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    with process(tmp_path / "data") as running:
        with client(running.url) as http:
            sent = {"x-request-id": "logged-1", "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
            http.get("/v1/tenants/x?limit=secret", headers=sent)
        running.stop()
        [line] = [line for line in _lines(running.log) if line.get("request_id") == "logged-1"]
    assert line["level"] == "info"
    assert line["trace_id"] == trace
    assert (line["method"], line["route"]) == ("GET", "/v1/tenants/{tenant}")
    assert (line["status"], line["code"]) == (400, "invalid_argument")
    assert line["duration_ms"] > 0
    assert line["client"] == "127.0.0.1"
    assert line["timestamp"].endswith("Z")
    assert "secret" not in json.dumps(line)


def test_log_level_is_respected(tmp_path: Path) -> None:
    with process(tmp_path / "data", AKIDB_LOG_LEVEL="warning") as running:
        with client(running.url) as http:
            http.get("/health/live")
        running.stop()
        assert running.log.read_text() == ""


def test_docs_page_loads_no_external_resources(http: httpx.Client) -> None:
    page = http.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "<script" not in page.text
    assert "//" not in re.sub(r"<pre>.*?</pre>|<code>.*?</code>", "", page.text, flags=re.DOTALL)
    description = http.get("/openapi.json").json()
    for path in description["paths"]:
        assert f"<code>{path}</code>" in page.text


@pytest.mark.parametrize("path", ["/health/live", "/nowhere", "/docs"])
def test_responses_disable_caching_and_content_sniffing(http: httpx.Client, path: str) -> None:
    answer = http.get(path)
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "server" not in answer.headers
