"""Server limits: body size, head size and concurrent requests."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from akidb.api import bodies
from akidb.api.bodies import MAX_BODY_BYTES

from .conftest import problem
from .running import Process, Threaded, client, half_sent, threaded

JSON = {"content-type": "application/json"}


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


@pytest.mark.parametrize("sent", [b"GET /" + b"x" * 70_000, b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000])
def test_unterminated_head_is_rejected(server: Process, sent: bytes) -> None:
    url = httpx.URL(server.url)
    with socket.create_connection((url.host, url.port), timeout=10) as raw:
        raw.sendall(sent)
        assert raw.recv(65536).startswith(b"HTTP/1.1 400 ")


def test_long_head_and_long_body_are_accepted(http: httpx.Client) -> None:
    assert http.get("/health/live", headers={"x-padding": "x" * 60_000}).status_code == 200
    answer = http.post("/v1/tenants", content=b" " * 200_000 + b'{"name": "Late in its body"}', headers=JSON)
    assert answer.status_code == 201


@pytest.fixture
def small_server(tmp_path: Path) -> Iterator[Threaded]:
    with threaded(tmp_path / "data", max_queued_requests=1) as running:
        yield running


def test_request_over_limit_gets_retry_after(small_server: Threaded) -> None:
    body = b'{"name": "Slow"}'
    with half_sent(small_server.url, body) as slow, client(small_server.url) as http:
        _wait_until_admitted(http)
        answer = http.post("/v1/tenants", json={"name": "Refused"})
        problem(answer, 503, "overloaded", queue="request")
        assert answer.headers["retry-after"] == "1"
        assert http.get("/health/live").status_code == 200
        assert http.get("/metrics").status_code == 200
        slow.sendall(body[len(body) // 2 :])
        assert slow.recv(65536).startswith(b"HTTP/1.1 201 ")
        assert [t["name"] for t in http.get("/v1/tenants").json()["items"]] == ["Slow"]


def _wait_until_admitted(http: httpx.Client) -> None:
    for _ in range(1000):
        if http.get("/health/ready").status_code == 503:
            return
    raise AssertionError("the slow request was never admitted")


def test_early_client_disconnect_frees_its_slot(small_server: Threaded) -> None:
    with client(small_server.url) as http:
        with half_sent(small_server.url, b'{"name": "Never finished"}'):
            _wait_until_admitted(http)
        for _ in range(1000):
            if http.get("/health/ready").status_code == 200:
                break
        assert http.get("/v1/tenants").json()["items"] == []
        figures = http.get("/metrics").text
    assert 'akidb_http_requests_total{method="POST",route="/v1/tenants",status="499"} 1.0' in figures


def test_stalled_body_releases_its_slot(small_server: Threaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "STALL_SECONDS", 0.3)
    with half_sent(small_server.url, b'{"name": "Never finished"}') as slow, client(small_server.url) as http:
        said = b"".join(iter(lambda: slow.recv(65536), b""))  # to the end: the connection is closed
        assert said.startswith(b"HTTP/1.1 408 ")
        assert b"urn:akidb:error:request_timeout" in said
        assert http.get("/health/ready").status_code == 200


def test_slow_body_is_accepted(small_server: Threaded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "STALL_SECONDS", 0.5)
    body = b'{"name": "Slow but steady"}'
    with half_sent(small_server.url, body) as slow:
        for byte in body[len(body) // 2 :]:
            time.sleep(0.1)
            slow.sendall(bytes([byte]))
        assert slow.recv(65536).startswith(b"HTTP/1.1 201 ")
