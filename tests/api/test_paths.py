"""Paths are routed as they were sent: an escape is part of a value, never of the route."""

import socket

import httpx
import pytest

from .conftest import problem
from .running import Process


@pytest.mark.parametrize(
    "path",
    [
        "/v1%2fbackup",
        "/v1%2Fbackup",
        "/v1/%62ackup",
        "/v1/backup%2f",
        "/v1/backup%00",
        "/v1/backup;x=1",
        "/v1/backup%3b",
        "/%76%31/backup",
        "/v1/./backup",
        "/v1/x/../backup",
        "/v1/x/%2e%2e/backup",
        "/v1/%2e/backup",
        "/v1%252fbackup",
        "/health%2flive",
        "/%68ealth/live",
        "/docs%20",
        "/%2e/docs",
        "/metrics%2f",
        "/V1/backup",
        "/v1/backup//",
        "//v1/backup",
        "/v1//backup",
        "/v1/tenants/",
        "/%",
    ],
)
def test_other_spelling_of_path_is_no_route(server: Process, path: str) -> None:
    for method in (b"GET", b"POST"):
        status, body = _raw(server, method, path.encode())
        assert status in {400, 404}, (method, path, body)
        assert b'"code":"not_found"' in body or b'"field":"path"' in body


@pytest.mark.parametrize(
    "path",
    [
        b"/v1/tenants/a\\b",
        b"/v1\\backup",
        b"/v1/tenants/%",
        b"/v1/tenants/%2",
        b"/v1/tenants/%zz",
        b"/v1/tenants/%%41",
        b"/v1/tenants/%4%31",
        b"/v1/tenants/%u0041",
        b"/v1/tenants/%ff",
        b"/v1/tenants/%c0%af",
        b"/v1/tenants/%ed%a0%80",
        b"/v1/tenants/caf\xc3\xa9",
        b"/v1/tenants/a\x00b",
        b"/v1/tenants/a\x7fb",
        b"/v1/tenants#fragment",
        b"/v1/backup#?x=1",
        b"http://other.example/v1/tenants",
        b"http://localhost:1/v1/tenants",
        b"v1/tenants",
        b"*",
        b"",
    ],
)
def test_malformed_path_is_rejected(server: Process, path: bytes) -> None:
    for method in (b"GET", b"DELETE", b"OPTIONS"):
        status, body = _raw(server, method, path)
        assert status == 400, body


def _raw(server: Process, method: bytes, path: bytes) -> tuple[int, bytes]:
    """Send a path as it is, and return the status and the response."""
    url = httpx.URL(server.url)
    with socket.create_connection((url.host, url.port), timeout=10) as raw:
        length = b"Content-Length: 0\r\n" if method == b"POST" else b""
        raw.sendall(
            method + b" " + path + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + length + b"\r\n"
        )
        answer = b""
        while piece := raw.recv(65536):
            answer += piece
    return int(answer.split()[1]), answer


def test_absolute_target_with_the_host_of_the_request_is_routed(server: Process) -> None:
    assert _raw(server, b"GET", b"http://localhost/health/live")[0] == 200


def test_encoded_separator_selects_no_other_entity(http: httpx.Client, tenant: str, database: str) -> None:
    slug = tenant.rpartition("/")[2]
    for path in (
        f"/v1/tenants/{slug}%2fdatabases",
        f"/v1/tenants/{slug}%2Fdatabases%2Fkb",
        f"/v1/tenants/{slug}%2f",
        f"/v1/tenants/%2f{slug}",
        f"/v1/tenants/..%2f{slug}",
        f"/v1/tenants/{slug}%252f",
        f"/v1/tenants/{slug}%00",
        f"/v1/tenants/{slug};",
        f"/v1/tenants/{slug}%5c",
        f"/v1/tenants/{slug}%0d%0a",
    ):
        for answer in (http.get(path), http.delete(path)):
            problem(answer, 400, "invalid_argument", field="tenant")
    problem(http.get(f"{tenant}/databases%2fkb"), 404, "not_found", entity="route")
    problem(http.get(f"{tenant}/databases/kb%2fcollections"), 400, "invalid_argument", field="database")
    problem(http.post(f"{tenant}%2fsuspend"), 405, "method_not_allowed")
    problem(http.post(f"{tenant}/%73uspend"), 404, "not_found", entity="route")
    assert http.get(tenant).json()["version"] == 1
    assert http.get(database).json()["version"] == 1


def test_escaped_value_is_decoded_once(http: httpx.Client, tenant: str) -> None:
    slug = tenant.rpartition("/")[2]
    escaped = "".join(f"%{ord(character):02x}" for character in slug)
    assert http.get(f"/v1/tenants/{escaped}").json()["slug"] == slug
    secret = "correct horse"
    for email, spelled in (
        ("a/b@example.org", "a%2Fb%40example.org"),
        ("a%2Fb@example.org", "a%252Fb@example.org"),
        ("../x@example.org", "..%2fx@example.org"),
        ("\u00fc/\u65e5@example.org", "%C3%BC%2F%E6%97%A5@example.org"),
    ):
        made = http.post(f"{tenant}/users", json={"email": email, "password": secret})
        assert made.status_code == 201, made.text
        assert http.get(f"{tenant}/users/{spelled}").json() == made.json()
        assert http.patch(f"{tenant}/users/{spelled}", json={"role": "viewer"}).json()["email"] == email
        assert http.post(f"{tenant}/users/{spelled}/suspend").json()["status"] == "suspended"
    assert http.get(f"{tenant}/user-count").json() == {"count": 4}
    problem(http.get("/v1/models/none%2fsuch"), 404, "not_found", entity="embedding_model", id="none/such")
