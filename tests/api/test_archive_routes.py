"""Archives over HTTP: streams of any size, content types, and aborted transfers."""

import io
import itertools
import socket
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

import akidb
from akidb.archive.parts import ArchiveReader
from akidb.deployment.local import restore_local
from akidb.ports.archive import Summary
from akidb.settings import load

from .conftest import problem, vector
from .running import Process, client, process

BYTES = {"content-type": "application/octet-stream"}
MORE_THAN_A_BODY = 70 * 2**20
_names = itertools.count()


@pytest.fixture
def filled(http: httpx.Client, tenant: str, collection: str) -> str:
    documents = [{"id": f"d{n}", "text": "x" * 1000, "vector": vector(1.0, n)} for n in range(500)]
    assert http.post(f"{collection}/documents", json={"documents": documents}).status_code == 200
    return tenant


def test_export_returns_archive(http: httpx.Client, filled: str) -> None:
    answer = http.get(f"{filled}/export")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["transfer-encoding"] == "chunked"
    reader = ArchiveReader(io.BytesIO(answer.content), room_bytes=10**9)
    *_, summary = reader
    assert isinstance(summary, Summary)
    assert summary.counts["documents"] == 500


def test_tenant_moves_to_another_server(http: httpx.Client, filled: str, tmp_path: Path) -> None:
    archive = http.get(f"{filled}/export").content
    with process(tmp_path / "other") as other, client(other.url) as there:
        report = there.post("/v1/import", content=archive, headers=BYTES, params={"dry_run": "true"})
        assert (report.status_code, report.json()["dry_run"], report.json()["conflicts"]) == (200, True, [])
        assert there.get("/v1/tenants").json()["items"] == []
        done = there.post("/v1/import", content=archive, headers=BYTES, params={"slug": "moved"})
        assert done.status_code == 200
        assert done.json()["tenant"] == {**http.get(filled).json(), "slug": "moved"}
        path = "/v1/tenants/moved/databases/kb/collections/notes/documents/count"
        assert there.post(path, json={}).json() == {"count": 500}
        again = there.post("/v1/import", content=archive, headers=BYTES)
        problem(again, 409, "already_exists", field="tenant_id")


def test_archive_may_exceed_body_limit(http: httpx.Client, filled: str) -> None:
    """Streams are not limited to 64 MiB: this one is rejected for its content, not its size."""
    nonsense = (bytes(2**20) for _ in range(MORE_THAN_A_BODY // 2**20))
    answer = http.post("/v1/import", content=nonsense, headers=BYTES, timeout=60)
    problem(answer, 400, "invalid_argument", field="archive")


@pytest.mark.parametrize("given", ["application/json", "text/plain", "multipart/form-data", None])
def test_import_rejects_content_types_of_simple_requests(given: str | None, http: httpx.Client) -> None:
    headers = {} if given is None else {"content-type": given}
    answer = http.post("/v1/import", content=b"AkiDB archive 1\n", headers=headers)
    problem(answer, 415, "unsupported_media_type", header="Content-Type")


def test_errors_are_reported_before_streaming_starts(http: httpx.Client, filled: str) -> None:
    problem(http.get("/v1/tenants/nobody-here/export"), 404, "not_found", entity="tenant")
    problem(http.get(f"{filled}/export", params={"x": "1"}), 400, "invalid_argument", field="x")
    problem(http.post("/v1/import", headers=BYTES), 400, "invalid_argument", field="archive")
    problem(
        http.post("/v1/import", headers=BYTES, params={"slug": "A"}), 400, "invalid_argument", field="slug"
    )


def test_tenant_named_import_is_found(http: httpx.Client) -> None:
    for slug in ("import", "backup", "export"):
        assert http.post("/v1/tenants", json={"name": slug, "slug": slug}).status_code == 201
        assert http.get(f"/v1/tenants/{slug}").json()["slug"] == slug
        assert http.get(f"/v1/tenants/{slug}/export").status_code == 200


def test_copy_creates_separate_tenant(http: httpx.Client, filled: str) -> None:
    slug = f"copy{next(_names)}"
    made = http.post(f"{filled}/copy", json={"slug": slug})
    assert made.status_code == 201
    assert made.headers["location"] == f"/v1/tenants/{made.json()['tenant_id']}"
    assert http.get(f"/v1/tenants/{slug}/usage").json()["documents"] == 500
    problem(http.post(f"{filled}/copy", json={"slug": slug}), 409, "already_exists", field="slug")


@pytest.mark.slow
def test_backup_of_running_server_is_restored(server: Process, filled: str, tmp_path: Path) -> None:
    with akidb.connect(server.url) as db:
        db.backup(tmp_path / "all.akidb")
        tenant = db.tenants.get(filled.rpartition("/")[2])
        with pytest.raises(akidb.AlreadyExists):
            db.backup(tmp_path / "all.akidb")
        db.backup(tmp_path / "all.akidb", overwrite=True)
    with (tmp_path / "all.akidb").open("rb") as archive:
        restore_local(tmp_path / "restored", load(), archive)
    with akidb.connect(tmp_path / "restored") as db:
        assert db.tenants.get(tenant.id).entity == tenant.entity
        assert db.tenants.get(tenant.id).usage().documents == 500


def test_client_disconnect_ends_export_and_import(server: Process, http: httpx.Client, filled: str) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    for request in (
        f"GET {filled}/export HTTP/1.1\r\nHost: localhost\r\n\r\n",
        (
            "POST /v1/import HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n"
            "Content-Length: 1000000\r\n\r\nAkiDB archive 1\n"
        ),
    ):
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(request.encode())
            time.sleep(0.05)
    deadline = time.monotonic() + 10
    while "akidb_http_requests_in_flight 1.0" not in http.get("/metrics").text:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert http.get(filled).status_code == 200


@pytest.mark.slow
def test_truncated_response_leaves_no_file(tmp_path: Path) -> None:
    """The server is killed during a backup: the caller gets an error, and no target file is left."""
    with process(tmp_path / "data") as running:
        with akidb.connect(running.url) as db:
            database = db.tenants.create("Aki Labs").databases.create("kb")
            notes = database.collections.create("notes", dimension=4096)
            for at in range(2):  # more than the sockets hold
                rows = np.random.default_rng(at).standard_normal((1000, 4096)).astype(np.float32)
                notes.upsert([{"id": f"{at}-{n}", "vector": row} for n, row in enumerate(rows)])

            class Slow:
                def write(self, data: bytes) -> None:
                    running.process.kill()
                    time.sleep(0.1)

            with pytest.raises(akidb.Unavailable):
                db.backup(Slow())
        running.process.wait(30)
    assert list(tmp_path.glob("*.akidb")) == []
