"""Request headers: versions, idempotency keys, request IDs, media types, hosts and origins."""

import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from akidb.api import headers

from .conftest import problem, vector
from .running import Process

JSON = {"content-type": "application/json"}


def test_stale_version_changes_nothing(http: httpx.Client, tenant: str, database: str) -> None:
    stale = {"if-match": '"7"'}
    for path in (tenant, database):
        entity = path.split("/")[-2].removesuffix("s")
        for answer in (
            http.patch(path, json={"name": "other"}, headers=stale),
            http.delete(path, headers=stale),
        ):
            problem(answer, 412, "precondition_failed", entity=entity, expected=7, actual=1)
    problem(http.post(f"{tenant}/suspend", headers=stale), 412, "precondition_failed")
    assert http.get(tenant).json()["version"] == 1
    assert http.get(tenant).json()["status"] == "active"
    assert http.get(database).json()["version"] == 1


def test_if_match_accepts_current_version_and_wildcard(http: httpx.Client, tenant: str) -> None:
    etag = http.get(tenant).headers["etag"]
    renamed = http.patch(tenant, json={"name": "one"}, headers={"if-match": etag})
    assert renamed.headers["etag"] == '"2"'
    assert http.patch(tenant, json={"name": "two"}, headers={"if-match": "*"}).headers["etag"] == '"3"'
    assert http.delete(tenant, headers={"if-match": '"3"'}).status_code == 204


@pytest.mark.parametrize("tag", ['W/"1"', "1", '"1', '""', '"0"', '"01"', '"1", "2"', '"one"', "", '"9e9"'])
def test_weak_or_malformed_etag_is_rejected(http: httpx.Client, tenant: str, tag: str) -> None:
    answer = http.patch(tenant, json={"name": "other"}, headers={"if-match": tag})
    problem(answer, 400, "invalid_argument", field="If-Match")
    assert http.get(tenant).json()["version"] == 1


def test_repeated_request_with_idempotency_key_has_one_effect(
    http: httpx.Client, tenant: str, collection: str
) -> None:
    key = {"idempotency-key": "k 1"}
    first, again = (http.post(f"{tenant}/databases", json={"name": "once"}, headers=key) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.content == again.content
    assert first.headers["location"] == again.headers["location"]
    body = {"documents": [{"vector": vector(1)}]}
    one, two = (http.post(f"{collection}/documents", json=body, headers=key).json() for _ in range(2))
    assert one == two
    assert http.post(f"{collection}/documents/count").json() == {"count": 1}


def test_reused_idempotency_key_with_other_body_changes_nothing(
    http: httpx.Client, tenant: str, collection: str
) -> None:
    key = {"idempotency-key": "k2"}
    assert http.post(f"{tenant}/databases", json={"name": "first"}, headers=key).status_code == 201
    other = http.post(f"{tenant}/databases", json={"name": "second"}, headers=key)
    problem(other, 422, "idempotency_mismatch")
    assert [d["name"] for d in http.get(f"{tenant}/databases").json()["items"]] == ["first", "kb"]
    documents = [{"documents": [{"id": name, "vector": vector(1)}]} for name in "ab"]
    answers = [http.post(f"{collection}/documents", json=body, headers=key) for body in documents]
    problem(answers[1], 422, "idempotency_mismatch")
    assert http.post(f"{collection}/documents/count").json() == {"count": 1}


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"caf\xe9", b"a\tb"])
def test_malformed_idempotency_key_is_rejected(http: httpx.Client, tenant: str, key: bytes) -> None:
    answer = http.post(f"{tenant}/databases", json={"name": "x"}, headers=[(b"idempotency-key", key)])
    problem(answer, 400, "invalid_argument", field="Idempotency-Key")
    assert http.get(f"{tenant}/databases").json()["items"] == []


@pytest.mark.parametrize("name", ["If-Match", "Idempotency-Key", "Content-Type"])
def test_duplicate_singleton_header_is_rejected(http: httpx.Client, tenant: str, name: str) -> None:
    value = {"If-Match": '"1"', "Idempotency-Key": "k", "Content-Type": "application/json"}[name]
    rest = [] if name == "Content-Type" else [("Content-Type", "application/json")]
    answer = http.post(f"{tenant}/suspend", content=b"{}", headers=[(name, value), (name, value), *rest])
    problem(answer, 400, "invalid_argument", field=name)
    assert http.get(tenant).json()["status"] == "active"


def test_valid_request_id_is_returned_and_audited(http: httpx.Client, tenant: str) -> None:
    answer = http.patch(
        tenant, json={"name": "x"}, headers={"x-request-id": "req 42", "user-agent": "tests/1"}
    )
    assert answer.headers["x-request-id"] == "req 42"
    entry = http.get(f"{tenant}/audit").json()["items"][-1]
    assert (entry["request_id"], entry["user_agent"], entry["ip_address"]) == (
        "req 42",
        "tests/1",
        "127.0.0.1",
    )


@pytest.mark.parametrize("given", [None, b"", b"x" * 129, b"caf\xe9"])
def test_missing_or_malformed_request_id_is_replaced(http: httpx.Client, given: bytes | None) -> None:
    sent = [] if given is None else [(b"x-request-id", given)]
    made = [http.get(path, headers=sent).headers["x-request-id"] for path in ("/health/live", "/nowhere")]
    assert all(len(name) == 32 for name in made)
    assert made[0] != made[1]


@pytest.mark.parametrize(
    ("sent", "trace_id"),
    [
        (b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "0af7651916cd43dd8448eb211c80319c"),
        (b"00-00000000000000000000000000000000-b7ad6b7169203331-01", None),
        (b"00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01", None),
        (b"ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None),
        (b"00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01", None),
        (b"nonsense", None),
    ],
)
def test_trace_id_is_read_from_traceparent(sent: bytes, trace_id: str | None) -> None:
    assert headers.trace_id({b"traceparent": sent}) == trace_id
    assert headers.trace_id({}) is None


def test_user_agent_is_sanitized() -> None:
    assert headers.user_agent({b"user-agent": b"caf\xe9\x1b" + b"x" * 300}) == "caf??" + "x" * 250
    assert headers.user_agent({}) is None


@pytest.mark.parametrize(
    "media_type",
    [None, "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", ""],
)
def test_body_without_json_content_type_is_rejected(
    http: httpx.Client, tenant: str, media_type: str | None
) -> None:
    sent = {} if media_type is None else {"content-type": media_type}
    answer = http.post(f"{tenant}/databases", content=b'{"name": "x"}', headers=sent)
    problem(answer, 415, "unsupported_media_type", header="Content-Type")
    assert http.get(f"{tenant}/databases").json()["items"] == []


def test_empty_form_is_rejected(http: httpx.Client, tenant: str) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    problem(http.post(f"{tenant}/suspend", headers=form), 415, "unsupported_media_type")
    assert http.get(tenant).json()["status"] == "active"


def test_compressed_body_is_rejected(http: httpx.Client, tenant: str) -> None:
    sent = {**JSON, "content-encoding": "gzip"}
    answer = http.post(f"{tenant}/databases", content=b"\x1f\x8b", headers=sent)
    problem(answer, 415, "unsupported_media_type", header="Content-Encoding")


@pytest.mark.parametrize(
    "media_type", ["application/json; charset=utf-8", "Application/JSON", "application/json;charset=UTF-8"]
)
def test_json_content_type_may_have_charset(http: httpx.Client, tenant: str, media_type: str) -> None:
    answer = http.post(f"{tenant}/databases", content=b'{"name": "x"}', headers={"content-type": media_type})
    assert answer.status_code == 201


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.2:8080", "127.255.0.9", "[::1]:80"]
)
def test_every_loopback_host_is_answered(http: httpx.Client, host: str) -> None:
    assert http.get("/health/live", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "126.0.0.1",
     "127.1", "", "localhost:x", "[::2]", "::1", "localhost@evil.example", "0.0.0.0",
     "localhost, evil.example"],
)  # fmt: skip
def test_foreign_host_is_rejected_before_any_work(http: httpx.Client, tenant: str, host: str) -> None:
    for answer in (
        http.delete(tenant, headers={"host": host}),
        http.get("/nowhere", headers={"host": host}),
        http.get("/health/live", headers={"host": host}),
    ):
        problem(answer, 400, "invalid_argument", field="Host")
    assert http.get(tenant).status_code == 200


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1:80", "[::1]", "[::1]:8080"])
def test_loopback_host_names_are_accepted(http: httpx.Client, host: str) -> None:
    assert http.get("/health/live", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_missing_host_is_rejected(server: Process, version: bytes) -> None:
    with _connected(server) as raw:
        raw.sendall(b"GET /v1/tenants HTTP/" + version + b"\r\n\r\n")
        assert b" 400 " in raw.recv(65536).split(b"\r\n", 1)[0]


def _connected(server: Process) -> socket.socket:
    url = httpx.URL(server.url)
    return socket.create_connection((url.host, url.port), timeout=10)


@pytest.fixture
def over_socket(server: Process) -> Iterator[httpx.Client]:
    transport = httpx.HTTPTransport(uds=str(server.socket))
    with httpx.Client(transport=transport, base_url="http://any.example") as connected:
        yield connected


def test_unix_socket_serves_same_routes_for_any_host(over_socket: httpx.Client, tenant: str) -> None:
    assert over_socket.get(tenant).json()["slug"] == tenant.rpartition("/")[2]
    renamed = over_socket.patch(tenant, json={"name": "By socket"})
    assert renamed.status_code == 200
    entry: dict[str, Any] = over_socket.get(f"{tenant}/audit").json()["items"][-1]
    assert entry["ip_address"] is None


def test_repeated_update_or_delete_with_idempotency_key_has_one_effect(
    http: httpx.Client, tenant: str
) -> None:
    http.post(f"{tenant}/databases", json={"name": "gone"})
    key = {"idempotency-key": "k3"}
    changes = [http.patch(f"{tenant}/databases/gone", json={"description": "x"}, headers=key) for _ in "12"]
    assert changes[0].content == changes[1].content
    assert changes[1].json()["version"] == 2
    assert [http.delete(f"{tenant}/databases/gone", headers=key).status_code for _ in "12"] == [204, 204]
    problem(http.delete(f"{tenant}/databases/gone", headers={"idempotency-key": "k4"}), 404, "not_found")
