"""Clients that are slow, greedy or hostile: what each holds is bounded, and others are served meanwhile."""

import json
import random
import select
import socket
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from akidb.api.limits import Limits

from .conftest import DIMENSION, problem, vector
from .running import Threaded, client, head, json_head, process, said, sending, threaded, until

NOTES = "/v1/tenants/t/databases/kb/collections/notes"
BINARY = "Content-Type: application/octet-stream"
SHORT = Limits(
    head_seconds=0.4,
    idle_seconds=0.4,
    body_seconds=30,
    window_seconds=0.4,
    crowded_seconds=0.1,
    linger_seconds=0.4,
    wait_seconds=0.6,
)
"""Deadlines of less than a second; the rates are those of a server."""


@pytest.fixture
def short(tmp_path: Path) -> Iterator[Threaded]:
    with threaded(tmp_path / "data", SHORT) as running:
        yield running


def dripped(connection: socket.socket, drop: bytes = b"x") -> bytes:
    """Send a byte now and then until the server ends the connection; return what it said."""
    connection.settimeout(0.05)
    heard = b""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            connection.sendall(drop)
            piece = connection.recv(65536)
        except TimeoutError:
            continue
        except OSError:
            return heard
        if not piece:
            return heard
        heard += piece
    raise AssertionError("the connection was never ended")


def is_timeout(answer: bytes) -> bool:
    return answer.startswith(b"HTTP/1.1 408 ") and b"urn:akidb:error:request_timeout" in answer


def test_connection_without_request_is_closed(short: Threaded) -> None:
    with sending(short.url, b"") as silent, sending(short.url, head("GET", "/health/live")) as idle:
        assert said(silent) == b""
        assert said(idle).startswith(b"HTTP/1.1 200 ")  # and is closed when it asks nothing more


@pytest.mark.parametrize("first", [b"", head("GET", "/health/live")], ids=["fresh", "kept_alive"])
@pytest.mark.parametrize("drop", [b"x", b"\r\n"], ids=["letters", "line_breaks"])
def test_dripped_head_times_out(short: Threaded, first: bytes, drop: bytes) -> None:
    with sending(short.url, first) as slow:
        if first:
            assert slow.recv(65536).startswith(b"HTTP/1.1 200 ")
        if drop == b"x":
            slow.sendall(b"GET /")
        assert is_timeout(dripped(slow, drop))


@pytest.mark.parametrize(
    "sent",
    [
        json_head("/v1/tenants", 10_000),
        head("POST", "/v1/import", BINARY, "Content-Length: 10000"),
        head("POST", "/v1/import", BINARY, "Transfer-Encoding: chunked"),
    ],
    ids=["json", "archive", "chunked_archive"],
)
def test_dripped_body_times_out(short: Threaded, sent: bytes) -> None:
    drop = b"1\r\nx\r\n" if b"chunked" in sent else b"x"
    with sending(short.url, sent) as slow:
        assert is_timeout(dripped(slow, drop))
    with client(short.url) as http:
        assert 'akidb_http_clients_cut_total{reason="request_timeout"} 1.0' in http.get("/metrics").text


def test_body_has_a_deadline_in_all(tmp_path: Path) -> None:
    limits = Limits(body_seconds=0.4, least_rate=1)
    with (
        threaded(tmp_path / "data", limits) as running,
        sending(running.url, json_head("/v1/tenants", 10_000)) as slow,
    ):
        assert is_timeout(dripped(slow))


def test_slow_but_steady_body_is_accepted(tmp_path: Path) -> None:
    body = b'{"name": "Slow but steady"}'
    limits = Limits(window_seconds=0.4, least_rate=10)
    with (
        threaded(tmp_path / "data", limits) as running,
        sending(running.url, json_head("/v1/tenants", len(body))) as slow,
    ):
        for byte in body:
            time.sleep(0.03)
            slow.sendall(bytes([byte]))
        assert slow.recv(65536).startswith(b"HTTP/1.1 201 ")


def filled(http: httpx.Client, megabytes: int) -> None:
    """Create a collection with documents of a megabyte that cannot be compressed."""
    http.post("/v1/tenants", json={"name": "t", "slug": "t", "qps_quota": 10_000}).raise_for_status()
    http.post("/v1/tenants/t/databases", json={"name": "kb"}).raise_for_status()
    made = {"name": "notes", "dimension": DIMENSION}
    http.post("/v1/tenants/t/databases/kb/collections", json=made).raise_for_status()
    texts = [b64encode(random.Random(n).randbytes(750_000)).decode() for n in range(megabytes)]
    documents = [{"id": f"d{n}", "text": text, "vector": vector(1, n)} for n, text in enumerate(texts)]
    http.post(f"{NOTES}/documents", json={"documents": documents}).raise_for_status()


def works(http: httpx.Client) -> None:
    """Check that a search, an upsert, health and metrics are answered."""
    found = http.post(f"{NOTES}/search", json={"vector": vector(1), "top_k": 1, "include": []})
    assert found.status_code == 200, found.text
    new = {"documents": [{"id": "d0", "vector": vector(1)}]}
    assert http.post(f"{NOTES}/documents", json=new).status_code == 200
    for path in ("/health/live", "/health/ready", "/metrics"):
        assert http.get(path).status_code == 200


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
def test_unread_response_is_cut_off_and_given_back(short: Threaded, version: str) -> None:
    with client(short.url) as http:
        filled(http, 12)
        asked = head("GET", f"{NOTES}/documents?include=text&limit=12").replace(b"HTTP/1.1", version.encode())
        with sending(short.url, asked, unread_bytes=4096) as unread:
            until(lambda: short.app.answers.used > 12_000_000)
            works(http)
            until(lambda: short.app.answers.used == 0)
            assert b"}]}" not in said(unread)[-20:]
        whole = http.get(f"{NOTES}/documents", params={"include": "text", "limit": 12}).json()
        assert sum(len(item.get("text", "")) for item in whole["items"]) == 11_000_000  # one was replaced


def test_unread_small_responses_are_cut_off(short: Threaded) -> None:
    with client(short.url) as http, sending(short.url, b"", unread_bytes=4096) as unread:
        unread.settimeout(0.2)
        with suppress(OSError):  # as much as it takes
            unread.sendall(head("GET", "/openapi.json") * 100_000)
        until(lambda: "akidb_http_clients_cut_total" in http.get("/metrics").text)


def test_unread_exports_and_dripped_imports_stop_nobody(tmp_path: Path) -> None:
    limits = Limits(wait_seconds=0.5)
    with threaded(tmp_path / "data", limits) as running, client(running.url) as http, ExitStack() as open_:
        filled(http, 12)
        for _ in range(24):
            asked = head("GET", "/v1/tenants/t/export"), head("GET", "/v1/backup")
            begun = head("POST", "/v1/import", BINARY, "Content-Length: 1000000") + b"Aki"
            for sent in (*asked, begun):
                open_.enter_context(sending(running.url, sent, unread_bytes=4096))
        for _ in range(5):
            works(http)


def test_slow_stream_yields_to_the_next_one(tmp_path: Path) -> None:
    limits = Limits(crowded_seconds=0.2, crowded_stream_seconds=0.2, streams_each=1, uploads=1)
    begun = head("POST", "/v1/import", BINARY, "Content-Length: 1000000") + b"AkiDB"
    with threaded(tmp_path / "data", limits) as running, client(running.url) as http:
        filled(http, 12)
        with (
            sending(running.url, head("GET", "/v1/tenants/t/export"), unread_bytes=4096) as unread,
            sending(running.url, begun) as slow,
        ):
            until(lambda: len(running.app.streams._taken) == 2)
            archive = http.get("/v1/tenants/t/export").content
            answer = http.post(
                "/v1/import", content=archive, headers={"content-type": "application/octet-stream"}
            )
            problem(answer, 409, "already_exists")
            assert b"urn:akidb:error:overloaded" in said(slow)
            assert len(said(unread)) < len(archive)


def test_streams_are_few_but_others_over_the_socket(tmp_path: Path) -> None:
    limits = Limits(streams=0, wait_seconds=0.2)
    with threaded(tmp_path / "data", limits) as running, client(running.url) as http:
        problem(http.get("/v1/backup"), 503, "overloaded", queue="stream")
        assert running.operations.directory is not None
        transport = httpx.HTTPTransport(uds=str(running.operations.directory / "akidb.sock"))
        with httpx.Client(transport=transport, base_url="http://localhost") as local:
            assert local.get("/v1/backup").status_code == 200


def test_unfinished_bodies_share_a_bound(tmp_path: Path) -> None:
    limits = Limits(
        all_bodies_bytes=1_000_000,
        free_bytes=1000,
        crowded_seconds=0.2,
        window_seconds=20,
        linger_seconds=0.4,
    )
    with threaded(tmp_path / "data", limits) as running, client(running.url) as http, ExitStack() as open_:
        begun = json_head("/v1/tenants", 500_000) + b" " * 300_000
        slow = [open_.enter_context(sending(running.url, begun)) for _ in range(3)]
        until(lambda: running.app.bodies.used > 800_000)
        body = b" " * 700_000 + b'{"name": "Quick"}'
        answer = http.post("/v1/tenants", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 201
        until(lambda: running.app.bodies.used <= 700_000)
        ended, _, _ = select.select(slow, [], [], 30)
        cut = said(ended[0])
        assert cut.startswith(b"HTTP/1.1 503 ")
        assert b'"queue":"body"' in cut


def test_body_that_never_fits_is_refused(tmp_path: Path) -> None:
    limits = Limits(all_bodies_bytes=100_000, free_bytes=1000)
    with threaded(tmp_path / "data", limits) as running, client(running.url) as http:
        body = b" " * 300_000 + b'{"name": "Large"}'
        answer = http.post("/v1/tenants", content=body, headers={"content-type": "application/json"})
        problem(answer, 503, "overloaded", queue="body")
        assert running.app.bodies.used == 0


@pytest.mark.parametrize(
    "flood",
    [b"A: b\r\n" * 4_000_000, b"A: " + b"b" * 24_000_000, b"2;" + b"e" * 24_000_000],
    ids=["trailers", "one_trailer", "chunk_extension"],
)
def test_trailers_are_bounded(short: Threaded, flood: bytes) -> None:
    sent = head("POST", "/v1/tenants", "Content-Type: application/json", "Transfer-Encoding: chunked")
    start = b"2\r\n{}\r\n" + (b"" if flood.startswith(b"2") else b"0\r\n")
    with sending(short.url, sent + start) as greedy:
        with suppress(OSError):  # as much as it takes
            greedy.sendall(flood)
        assert said(greedy).startswith(b"HTTP/1.1 431 ")
    with client(short.url) as http:
        assert 'akidb_http_clients_cut_total{reason="head_too_large"} 1.0' in http.get("/metrics").text


def test_number_of_headers_is_bounded(short: Threaded) -> None:
    with sending(short.url, head("GET", "/health/live", *["A: b"] * 300)) as greedy:
        assert said(greedy).startswith(b"HTTP/1.1 431 ")


def test_idle_connections_make_room_for_new_ones(tmp_path: Path) -> None:
    limits = Limits(connections=8, local_connections=2, crowded_seconds=0.2)
    with threaded(tmp_path / "data", limits) as running, ExitStack() as open_:
        begun = [b"", b"GET /", head("GET", "/health/live"), json_head("/v1/tenants", 10) + b" "]
        for number in range(40):
            open_.enter_context(sending(running.url, begun[number % 4]))
        with client(running.url) as http:
            assert http.post("/v1/tenants", json={"name": "Late"}).status_code == 201
        assert running.operations.directory is not None
        path = str(running.operations.directory / "akidb.sock")
        for _ in range(8):
            local = open_.enter_context(socket.socket(socket.AF_UNIX))
            local.connect(path)
        transport = httpx.HTTPTransport(uds=path)
        with httpx.Client(transport=transport, base_url="http://localhost", timeout=30) as operator:
            assert operator.get("/v1/tenants").status_code == 200


def test_connections_leave_descriptors_for_stores(tmp_path: Path) -> None:
    with process(tmp_path / "data", OPEN_FILES="256") as running, ExitStack() as open_:
        for _ in range(300):
            open_.enter_context(sending(running.url, b""))
        with client(running.url) as http:
            for number in range(30):
                made = http.post("/v1/tenants", json={"name": f"n{number}", "slug": f"n{number}"})
                assert made.status_code == 201, made.text
                http.post(f"/v1/tenants/n{number}/databases", json={"name": "kb"}).raise_for_status()
                path = f"/v1/tenants/n{number}/databases/kb/collections"
                http.post(path, json={"name": "notes", "dimension": 16}).raise_for_status()
                documents = {"documents": [{"id": "d", "vector": vector(1)}]}
                http.post(f"{path}/notes/documents", json=documents).raise_for_status()
        assert running.stop() == 0
        assert "Traceback" not in running.log.read_text()


def test_pipelined_requests_are_answered_in_order(short: Threaded) -> None:
    body = json.dumps({"name": "x"}).encode()
    sent = b"".join(
        head("GET", "/health/live", f"X-Request-ID: {n}")
        + head(
            "POST",
            "/v1/tenants",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            f"X-Request-ID: p{n}",
        )
        + body
        for n in range(300)
    )
    with sending(short.url, sent) as connection:
        heard = b""
        while b"x-request-id: p299\r\n" not in heard:
            piece = connection.recv(65536)
            assert piece, heard[-300:]
            heard += piece
    ids = [line[14:] for line in heard.split(b"\r\n") if line.startswith(b"x-request-id: ")]
    assert ids == [id for n in range(300) for id in (b"%d" % n, b"p%d" % n)]


def test_stream_to_an_http_1_0_client_ends_with_the_connection(short: Threaded) -> None:
    with sending(short.url, head("GET", "/v1/backup").replace(b"HTTP/1.1", b"HTTP/1.0")) as old:
        answer = said(old)
    top, _, body = answer.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in top
    assert body.startswith(b"AkiDB archive 1\n")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\x16\x03\x01\x02\x00", 400),
        (head("GET", "/health/live") + b"\x01junk\r\n\r\n", 200),
        (head("GET", "/health/live", "Connection: Upgrade", "Upgrade: h2c"), 200),
        (head("GET", "/health/live", "Content-Length: 50"), 200),
        (head("POST", "/v1/tenants", "Expect: 100-continue", "Content-Length: 5"), 415),
        (
            head("POST", "/v1/tenants", "Content-Type: application/json", "Transfer-Encoding: chunked")
            + b"z",
            400,
        ),
    ],
)
def test_connection_ends_after_what_cannot_be_followed(short: Threaded, sent: bytes, status: int) -> None:
    with sending(short.url, sent) as connection:
        answer = said(connection)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"HTTP/1.1 ") == 1


def test_half_closed_connection_is_answered_or_closed(short: Threaded) -> None:
    with sending(short.url, head("GET", "/health/live")) as half:
        half.shutdown(socket.SHUT_WR)
        assert said(half)[:13] in {b"", b"HTTP/1.1 200 "}
    until(lambda: len(short.server.server_state.connections) == 0)


def test_memory_of_unfinished_bodies_is_bounded_and_given_back(tmp_path: Path) -> None:
    with process(tmp_path / "data") as running:
        status = Path(f"/proc/{running.process.pid}/status")

        def resident_bytes() -> int:
            line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
            return int(line.split()[1]) * 1024

        before = resident_bytes()
        with ExitStack() as open_:
            begun = json_head("/v1/tenants", 2**26) + b" " * (50 * 2**20)
            for _ in range(8):
                greedy = open_.enter_context(sending(running.url, b""))
                greedy.settimeout(0.3)
                with suppress(OSError):  # as much as it takes
                    greedy.sendall(begun)
            assert resident_bytes() - before < 320 * 2**20
        until(lambda: resident_bytes() - before < 40 * 2**20)


@pytest.mark.parametrize("size", [1, 40])
def test_body_in_many_small_chunks_is_refused(short: Threaded, size: int) -> None:
    begin = head("POST", "/v1/tenants", "Content-Type: application/json", "Transfer-Encoding: chunked")
    chunk = b"%x\r\n%s\r\n" % (size, b" " * size)
    with sending(short.url, begin) as connection:
        with suppress(OSError):  # closed before all are sent
            connection.sendall(chunk * 20_000)
        answer = said(connection)
    assert answer == b"" or (answer.startswith(b"HTTP/1.1 400 ") and b'"field":"body"' in answer)
    with client(short.url) as http:
        assert http.get("/health/live").status_code == 200


def test_body_in_chunks_of_usual_size_is_accepted(short: Threaded) -> None:
    begin = head("POST", "/v1/tenants", "Content-Type: application/json", "Transfer-Encoding: chunked")
    chunk = b"%x\r\n%s\r\n" % (100, b" " * 100)
    end = b'10\r\n{"name":"Chunk"}\r\n0\r\n\r\n'
    with sending(short.url, begin + chunk * 6_000 + end) as connection:
        assert connection.recv(65536).startswith(b"HTTP/1.1 201 ")
