"""Server limits: body size, head size and concurrent requests."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from akidb.api.limits import LIMITS
from akidb.domain.entities import Tenant
from akidb.operations.tenants import CreateTenant

from .conftest import problem, vector
from .running import Process, Threaded, carry_out, client, half_sent, said, sending, threaded, until
from .running import head as head_of

JSON = {"content-type": "application/json"}
MAX_BODY_BYTES = LIMITS.body_bytes


def test_body_with_excessive_content_length_is_rejected_unread(http: httpx.Client, server: Process) -> None:
    url = httpx.URL(server.url)
    head = (
        f"POST /v1/tenants HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {MAX_BODY_BYTES + 1}\r\n\r\n"
    )
    with socket.create_connection((url.host, url.port), timeout=10) as raw:
        raw.sendall(head.encode())
        assert raw.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_chunked_body_over_limit_is_rejected(http: httpx.Client) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"name": "'
        for _ in range(65):
            yield b"x" * 2**20
        yield b'"}'

    before = http.get("/v1/tenants", params={"limit": 1000}).json()["items"]
    answer = http.post("/v1/tenants", content=chunks(), headers=JSON)
    problem(answer, 413, "payload_too_large", limit_bytes=MAX_BODY_BYTES)
    assert http.get("/v1/tenants", params={"limit": 1000}).json()["items"] == before


def test_chunked_body_is_accepted(http: httpx.Client) -> None:
    answer = http.post("/v1/tenants", content=iter([b'{"na', b'me": "In chunks"}']), headers=JSON)
    assert answer.status_code == 201


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"GET /" + b"x" * 70_000, 414, "uri_too_long"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000, 431, "head_too_large"),
    ],
)
def test_unterminated_head_is_rejected(server: Process, sent: bytes, status: int, code: str) -> None:
    with sending(server.url, sent) as raw:
        answer = said(raw)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert f"urn:akidb:error:{code}".encode() in answer


def test_target_of_any_length_gets_a_clear_response(server: Process) -> None:
    limit = LIMITS.target_bytes
    for length in (limit - 100, limit, limit + 1, 2**16 - 2, 2**16 - 1, 2**16, 2**16 + 1024, 10**6):
        path = "/v1/tenants?name_contains="
        sent = head_of("GET", path + "x" * (length - len(path)), "Connection: close")
        with sending(server.url, sent) as raw:
            answer = said(raw)
        expected = (400, b'"field":"name_contains"') if length <= limit else (414, b'"code":"uri_too_long"')
        assert answer.startswith(b"HTTP/1.1 %d " % expected[0]), length
        assert expected[1] in answer


def test_long_head_and_long_body_are_accepted(http: httpx.Client) -> None:
    assert http.get("/health/live", headers={"x-padding": "x" * 60_000}).status_code == 200
    answer = http.post("/v1/tenants", content=b" " * 200_000 + b'{"name": "Late in its body"}', headers=JSON)
    assert answer.status_code == 201


@pytest.fixture
def small_server(tmp_path: Path) -> Iterator[Threaded]:
    with threaded(tmp_path / "data", max_queued_requests=1) as running:
        yield running


def test_request_over_limit_gets_retry_after(small_server: Threaded, monkeypatch: pytest.MonkeyPatch) -> None:
    entered, release = threading.Event(), threading.Event()
    perform = small_server.operations.perform

    def create(asked: CreateTenant) -> Tenant:
        entered.set()
        assert release.wait(30)
        return perform(asked)

    carry_out(monkeypatch, small_server, {CreateTenant: create})
    with client(small_server.url) as http, ThreadPoolExecutor(1) as aside:
        slow = aside.submit(httpx.post, f"{small_server.url}/v1/tenants", json={"name": "Slow"}, timeout=60)
        try:
            assert entered.wait(30)
            answer = http.post("/v1/tenants", json={"name": "Refused"})
            problem(answer, 503, "overloaded", queue="request")
            assert answer.headers["retry-after"] == "1"
            for path in ("/health/live", "/health/ready", "/metrics"):
                assert http.get(path).status_code == 200
        finally:
            release.set()
        assert slow.result().status_code == 201
        assert [t["name"] for t in http.get("/v1/tenants").json()["items"]] == ["Slow"]


def test_unfinished_body_takes_no_slot(small_server: Threaded) -> None:
    body = b'{"name": "Slow"}'
    with half_sent(small_server.url, body) as slow, client(small_server.url) as http:
        assert http.post("/v1/tenants", json={"name": "Quick"}).status_code == 201
        for path in ("/health/live", "/health/ready", "/metrics"):
            assert http.get(path).status_code == 200
        slow.sendall(body[len(body) // 2 :])
        assert slow.recv(65536).startswith(b"HTTP/1.1 201 ")


def test_client_disconnect_within_a_body_is_counted(small_server: Threaded) -> None:
    with client(small_server.url) as http:
        half_sent(small_server.url, b'{"name": "Never finished"}').close()
        gone = 'akidb_http_requests_total{method="POST",route="/v1/tenants",status="499"} 1.0'
        until(lambda: gone in http.get("/metrics").text)
        assert http.get("/v1/tenants").json()["items"] == []
        assert "akidb_http_requests_in_flight 1.0" in http.get("/metrics").text


@pytest.mark.parametrize("end", [b"]}", b"]", b'], "name": "x"}'], ids=["valid", "malformed", "duplicate"])
def test_body_of_many_values_is_refused_before_it_is_decoded(http: httpx.Client, end: bytes) -> None:
    body = b'{"name": [' + b"[]," * 2_000_000 + b"[]" + end
    answer = http.post("/v1/tenants", content=body, headers=JSON)
    problem(answer, 400, "invalid_argument", field="body", reason="must contain at most 1000000 values")


def test_large_batch_is_decoded_in_pieces_and_written(http: httpx.Client, collection: str) -> None:
    metadata = {"note": 'a "[{,:" b' * 20}
    documents = [{"id": f"d{n}", "vector": vector(1.0, n), "metadata": metadata} for n in range(6000)]
    answer = http.post(f"{collection}/documents", json={"documents": documents})
    assert answer.status_code == 200, answer.text
    documents[-1] = {**documents[-1], "vector": [1.0]}
    wrong = http.post(f"{collection}/documents", json={"documents": documents})
    problem(wrong, 400, "invalid_argument", field="documents[5999].vector")
    assert http.post(f"{collection}/documents/count", json={}).json() == {"count": 6000}
