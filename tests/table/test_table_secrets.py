"""No operation of a broken server tells a client over TCP of its machine; its log and its socket do."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from stage import ROWS, build, local, perform

from akidb.domain.errors import AkiDBError
from akidb.operations import Operations, collections, documents
from akidb.ports import wire
from postgres import Server

sys.path.insert(0, str(Path(__file__).parents[1] / "conformance"))  # its deployments serve here too

HOME = str(Path.home())
REMOTE = [row for row in ROWS if not row.local]


def answers(operations: Operations, folder: Path) -> Iterator[tuple[str, str]]:
    """What each operation answers: its result as JSON, or its error, with the fields."""
    for row in REMOTE:
        try:
            yield row.name, wire.encode(perform(operations, row, folder)).decode(errors="backslashreplace")
        except AkiDBError as error:
            yield row.name, json.dumps([error.code, error.message, error.fields])


def others(url: str) -> Iterator[tuple[str, str]]:
    """What the other routes answer, with the headers; and what an unexpected request does."""
    asked = [("GET", path) for path in ("/health/ready", "/metrics", "/openapi.json", "/docs", "/nothing")]
    asked += [("PUT", "/v1/tenants"), ("POST", "/v1/embeddings"), ("POST", f"/v1/models/{REAL}/pull")]
    with httpx.Client(base_url=url, timeout=60) as http:
        for method, path in asked:
            body = {"input": "a text", "model": REAL} if path == "/v1/embeddings" else {}
            answer = http.request(method, path, json=None if method == "GET" else body)
            yield f"{method} {path}", f"{answer.status_code} {answer.headers} {answer.text}"


REAL = "all-minilm-l6-v2"


def told(found: dict[str, str], secrets: list[str]) -> dict[str, str]:
    """The answers that contain a secret."""
    return {name: text for name, text in found.items() if any(secret in text for secret in secrets)}


def test_broken_directory_is_not_described_over_tcp(tmp_path: Path) -> None:
    from api.running import process

    data, models, source = tmp_path / "secret-data", tmp_path / "secret-models", tmp_path / "secret-source"
    environment = {"AKIDB_MODELS_DIR": str(models), "AKIDB_MODEL_SOURCE": str(source)}
    (models / REAL).mkdir(parents=True)
    with (
        process(data, **environment) as server,
        local(server.url, models) as http,
        local(f"unix://{server.socket}", models) as socket,
    ):
        build(http)
        place: dict[str, Any] = {"tenant": "mine", "database": "kb"}
        http.perform(collections.CreateCollection(**place, name="texts", embedding_model=REAL))
        for path in (data / "tenants").glob("*.db*"):
            path.write_bytes(b"no database" * 1000)
        found = {**dict(answers(http, tmp_path)), **dict(others(server.url))}
        ask = documents.SearchDocuments(**place, collection="texts", text="a text")
        with pytest.raises(AkiDBError) as over_tcp:
            http.perform(ask)
        with pytest.raises(AkiDBError) as over_socket:
            socket.perform(ask)
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(server.socket))) as client:
            local_pull = client.post(f"http://localhost/v1/models/{REAL}/pull", json={}).text
    assert told(found, [str(tmp_path), "secret-", HOME, os.uname().nodename]) == {}
    assert over_tcp.value.message == f"{REAL} is not installed; run `akidb model pull {REAL}`"
    assert str(models) in over_socket.value.message
    assert str(source) in local_pull
    assert '"code":"unavailable"' in found[f"POST /v1/models/{REAL}/pull"]
    assert str(models) in server.log.read_text()
    assert str(source) in server.log.read_text()
    assert "unavailable" in found["document.scan"]
    assert sum("unavailable" in text for text in found.values()) > 8


@pytest.mark.parametrize("fault", ["tables", "connections"])
def test_broken_database_is_not_described_over_tcp(
    fault: str, tmp_path: Path, postgres_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from congruence_deployments import server

    monkeypatch.setenv("AKIDB_MODEL_SOURCE", str(tmp_path / "secret-source"))
    made = postgres_server.url()
    url = postgres_server.as_user(made, "SUPERUSER")
    named = psycopg.conninfo.conninfo_to_dict(url)
    name, user, host = (str(named[key]) for key in ("dbname", "user", "host"))
    try:
        with server(url, tmp_path) as served, local(served, tmp_path) as http:
            build(http)
            if fault == "tables":
                with psycopg.connect(made, autocommit=True) as connection:
                    connection.execute("ALTER SCHEMA akidb_metadata RENAME TO secret_metadata")
            else:
                postgres_server.run(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
                postgres_server.run(
                    f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
                )
            found = {**dict(answers(http, tmp_path)), **dict(others(served))}
    finally:
        postgres_server.drop(made)
    assert told(found, [name, user, host, str(tmp_path), HOME, "akidb_metadata", "relation", "FATAL"]) == {}
    assert "PostgreSQL: " in found["tenant.get"]
    assert sum("unavailable" in text for text in found.values()) > 30
