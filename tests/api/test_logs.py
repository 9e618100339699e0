"""Request logs: one line per request with IDs and timings, as JSON or text, without tenant data."""

import json
import logging
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from akidb.api.logs import JsonFormatter, TextFormatter
from akidb.domain.errors import NotFound
from akidb.operations.tenants import GetTenant

from .conftest import vector
from .running import carry_out, client, process, threaded

PAGE = Path(__file__).parents[2] / "docs/observability.md"


def _lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def _of(lines: list[dict[str, Any]], request_id: str) -> dict[str, Any]:
    [line] = [line for line in lines if line.get("request_id") == request_id]
    return line


def test_log_line_has_tenant_id_once_path_is_resolved(tmp_path: Path) -> None:
    with process(tmp_path / "data") as running:
        with client(running.url) as http:

            def ask(method: str, path: str, request_id: str, **body: Any) -> dict[str, Any]:
                sent: dict[str, Any] = {"json": body} if body else {}
                sent["headers"] = {"x-request-id": request_id}
                answer = http.request(method, path, **sent)
                found: dict[str, Any] = answer.json()
                return found

            made = ask("POST", "/v1/tenants", "made", name="Secret Labs", slug="secret-labs")
            other = ask("POST", "/v1/tenants", "other", name="Other")
            ask("POST", "/v1/tenants/secret-labs/databases", "database", name="kb")
            collection = "/v1/tenants/secret-labs/databases/kb/collections"
            ask("POST", collection, "collection", name="secret-notes", dimension=16)
            document = {"id": "secret-id", "text": "secret text", "vector": vector(1.0)}
            for request_id in ("written", "again"):  # the second time the path is known without a query
                ask("POST", f"{collection}/secret-notes/documents", request_id, documents=[document])
            ask("GET", f"/v1/tenants/{other['tenant_id']}/databases/secret", "missing")
            ask("GET", "/v1/tenants/secret", "unknown")
            ask("GET", "/v1/tenants", "list")
            ask("GET", "/no/secret/route", "nowhere")
        running.stop()
        lines = _lines(running.log)
    for request_id in ("made", "database", "collection", "written", "again"):
        assert _of(lines, request_id)["tenant_id"] == made["tenant_id"], request_id
        assert "code" not in _of(lines, request_id)
    assert _of(lines, "missing")["tenant_id"] == other["tenant_id"]
    for request_id in ("missing", "unknown", "nowhere"):
        assert (_of(lines, request_id)["status"], _of(lines, request_id)["code"]) == (404, "not_found")
    for request_id in ("unknown", "list", "nowhere"):
        assert "tenant_id" not in _of(lines, request_id), request_id
    assert "secret" not in running.log.read_text().lower()


def test_log_line_keys_match_documentation(tmp_path: Path) -> None:
    with process(tmp_path / "data", AKIDB_SLOW_OPERATION_SECONDS="1e-9") as running:
        with client(running.url) as http:
            trace = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
            http.post("/v1/tenants", json={"name": "Aki"}, headers=trace)
            http.get("/v1/tenants/none")
        running.stop()
        lines = _lines(running.log)
    slow = next(line for line in lines if line["message"] == "slow operation")
    assert (slow["level"], slow["operation"], slow["code"]) == ("warning", "tenant.create", "ok")
    assert slow["duration_ms"] > 0
    assert slow["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert slow["request_id"] == lines[lines.index(slow) + 1]["request_id"]
    _, _, table = PAGE.read_text().partition("| key | is |")
    described = {
        key for row in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE) for key in re.findall(r"\w+", row)
    }
    assert {key for line in lines for key in line} == described - {"exception"}


def test_text_format_logs_one_line_per_request(tmp_path: Path) -> None:
    with process(tmp_path / "data", AKIDB_LOG_FORMAT="text") as running:
        with client(running.url) as http:
            http.get("/v1/tenants/none", headers={"x-request-id": 'with space and "quotes"'})
        running.stop()
        [line] = running.log.read_text().splitlines()
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z INFO akidb\.api\.access request"
        r' request_id="with space and \\"quotes\\"" method=GET route=/v1/tenants/\{tenant\}'
        r" status=404 duration_ms=[\d.]+ client=127\.0\.0\.1 code=not_found",
        line,
    )


def test_defect_is_logged_with_request_id_and_without_its_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with threaded(tmp_path / "data") as running, client(running.url) as http:

        def broken(_: object) -> None:
            raise ValueError("secret text")

        carry_out(monkeypatch, running, {GetTenant: broken})
        answer = http.get("/v1/tenants/aki", headers={"x-request-id": "failed-1"})
    assert answer.status_code == 500
    [record] = [record for record in caplog.records if record.levelno == logging.ERROR]
    line = json.loads(JsonFormatter(messages=False).format(record))
    assert (line["message"], line["request_id"]) == ("request failed", "failed-1")
    assert line["exception"].endswith("builtins.ValueError")
    assert "in broken" in line["exception"]
    assert "secret" not in line["exception"].replace('raise ValueError("secret text")', "")


def _record(message: str = "failed") -> logging.LogRecord:
    try:
        try:
            raise KeyError("inner\nsecret")
        except KeyError as inner:
            raise NotFound("tenant", "outer secret") from inner
    except NotFound:
        return logging.LogRecord("akidb", logging.ERROR, __file__, 1, message, (), sys.exc_info())


def test_exception_is_one_log_field_including_its_causes() -> None:
    line = JsonFormatter(messages=True).format(_record())
    assert "\n" not in line
    told = json.loads(line)["exception"]
    assert "KeyError: 'inner\\nsecret'" in told
    assert told.endswith("NotFound: tenant 'outer secret' does not exist")
    untold = json.loads(JsonFormatter(messages=False).format(_record()))["exception"]
    assert untold.index("builtins.KeyError") < untold.index("which led to") < untold.index("errors.NotFound")
    assert untold.endswith("akidb.domain.errors.NotFound")
    assert "does not exist" not in untold


def test_values_cannot_break_text_log_line() -> None:
    record = _record("a\nb")
    record.__dict__["fields"] = {"route": "x\ny", "empty": ""}
    first, _, rest = TextFormatter(messages=False).format(record).partition("\n")
    assert first.endswith(r'ERROR akidb a\nb route="x\ny" empty=""')
    assert rest.startswith("  File ")
