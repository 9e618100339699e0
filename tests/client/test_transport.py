"""The HTTP transport against misbehaving servers, scripted on raw sockets."""

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path

import pytest

import akidb
from akidb.client.http import HttpOperations
from akidb.client.http.transport import Transport
from akidb.domain.fields import CollectionPath
from akidb.operations.documents import UpsertDocuments
from akidb.operations.tenants import DeleteTenant, GetTenant, SuspendTenant

Script = Callable[[socket.socket], None]


def _answer(status: str, body: bytes, *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


def _problem(line: str, /, *headers: str, **members: object) -> bytes:
    return _answer(line, json.dumps(members).encode(), "Content-Type: application/problem+json", *headers)


@contextmanager
def _server(*scripts: Script) -> Iterator[str]:
    """A server that runs one script per connection, in order."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def play() -> None:
            for script in scripts:
                connection, _ = listening.accept()
                with connection:
                    script(connection)

        player = threading.Thread(target=play)
        player.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        player.join(10)


def _read(connection: socket.socket) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request:
        request += connection.recv(65536)
    head, _, body = request.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            while len(body) < int(line.partition(b":")[2]):
                body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def _say(*answers: bytes) -> Script:
    def script(connection: socket.socket) -> None:
        for answer in answers:
            _read(connection)
            connection.sendall(answer)

    return script


def _raised(answer: bytes) -> akidb.AkiDBError:
    with _server(_say(answer)) as url:
        operations = HttpOperations(url, timeout_seconds=10)
        with pytest.raises(akidb.AkiDBError) as caught:
            operations.perform(GetTenant(tenant="aki-labs"))
        operations.close()
    return caught.value


def test_problem_becomes_exception_with_message_and_fields() -> None:
    error = _raised(
        _problem(
            "409 Conflict",
            type="about:blank",
            title="Invalid state",
            status=409,
            detail="words of the server",
            code="invalid_state",
            request_id="r1",
            entity="tenant",
            state="suspended",
            operation="document_write",
            allowed=["audit_read"],
        )
    )
    assert type(error) is akidb.InvalidState
    assert str(error) == error.message == "words of the server"
    assert error.fields == {
        "entity": "tenant",
        "state": "suspended",
        "operation": "document_write",
        "allowed": ["audit_read"],
    }


@pytest.mark.parametrize(
    ("header", "seconds"), [("Retry-After: 7", 7.0), ("Retry-After: soon", 1.0), ("X-Other: 1", 1.0)]
)
def test_retry_after_header_sets_retry_after_seconds(header: str, seconds: float) -> None:
    members = {"code": "rate_limited", "detail": "more than 5 operations per second", "limit": 5}
    error = _raised(_problem("429 Too Many Requests", header, **members))
    assert isinstance(error, akidb.RateLimited)
    assert (error.retry_after_seconds, error.fields) == (seconds, {"limit": 5})


def test_body_too_large_for_server_is_invalid_argument() -> None:
    error = _raised(_problem("413 Content Too Large", code="payload_too_large", detail="over 64 MiB"))
    assert isinstance(error, akidb.InvalidArgument)
    assert error.field == "body"


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (_answer("502 Bad Gateway", b"<html>no backend</html>"), akidb.Unavailable),
        (_answer("404 Not Found", b"<html>what is AkiDB?</html>"), akidb.Internal),
        (_answer("403 Forbidden", b'{"code": "made_up"}'), akidb.Internal),
        (_answer("200 OK", b"hello"), akidb.Internal),
        (_answer("200 OK", b'{"name": "no tenant"}'), akidb.Internal),
        (b"SSH-2.0-OpenSSH\r\n", akidb.Unavailable),
    ],
)
def test_non_akidb_server_is_reported(answer: bytes, kind: type[akidb.AkiDBError]) -> None:
    error = _raised(answer)
    assert type(error) is kind
    assert "127.0.0.1" in str(error)


def test_unreachable_server_is_unavailable(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for url in (f"http://127.0.0.1:{port}", f"unix://{tmp_path}/no.sock"):
        with akidb.connect(url) as client, pytest.raises(akidb.Unavailable, match="cannot reach"):
            client.tenants.list()


def test_server_timeout_is_unavailable() -> None:
    done = threading.Event()

    def wait(connection: socket.socket) -> None:
        _read(connection)
        done.wait(10)

    with _server(wait) as url, akidb.connect(url, timeout_seconds=0.05) as client:
        with pytest.raises(akidb.Unavailable, match=r"did not answer within 0\.05 seconds"):
            client.tenants.list()
        done.set()


_EMPTY = _answer("200 OK", b'{"items": [], "next_cursor": null}')


def test_connection_is_kept_alive_and_read_survives_its_close() -> None:
    with _server(_say(_EMPTY, _EMPTY), _say(_EMPTY)) as url, akidb.connect(url) as client:
        for _ in range(3):
            assert client.tenants.list() == []


def _hang_up(connection: socket.socket) -> None:
    _read(connection)
    connection.sendall(_EMPTY)
    _read(connection)  # the next request arrives, and is answered by nobody


def test_read_is_retried_when_kept_connection_breaks() -> None:
    with _server(_hang_up, _say(_EMPTY)) as url, akidb.connect(url) as client:
        assert client.tenants.list() == []
        assert client.tenants.list() == []


def test_write_is_retried_only_with_idempotency_key() -> None:
    with _server(_hang_up) as url, akidb.connect(url) as client:
        assert client.tenants.list() == []
        with pytest.raises(akidb.Unavailable, match="closed the connection"):
            client.tenants.create("Aki Labs")
    taken = _problem("409 Conflict", code="already_exists", detail="taken")
    with _server(_hang_up, _say(taken)) as url, akidb.connect(url) as client:
        assert client.tenants.list() == []
        with pytest.raises(akidb.AlreadyExists), akidb.request(idempotency_key="k"):
            client.tenants.create("Aki Labs")


def test_request_line_headers_and_body() -> None:
    seen: list[bytes] = []

    def record(connection: socket.socket) -> None:
        for _ in range(2):
            seen.append(_read(connection))
            connection.sendall(_problem("409 Conflict", code="already_exists", detail="taken"))

    with _server(record) as url, akidb.connect(f"{url}/team/") as client:
        perform = client._operations.perform
        with akidb.request(idempotency_key="key-1", request_id="r-1"):
            with pytest.raises(akidb.AlreadyExists):
                perform(SuspendTenant(tenant="aki-labs", reason="late", if_version=3))
            with pytest.raises(akidb.AlreadyExists):
                perform(DeleteTenant(tenant="aki-labs", if_version=4))
    head, _, body = seen[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /team/v1/tenants/aki-labs/suspend HTTP/1.1"
    assert body == b'{"reason":"late"}'
    assert {b'If-Match: "3"', b"Idempotency-Key: key-1", b"X-Request-ID: r-1"} <= set(lines)
    assert b"Content-Type: application/json" in lines
    assert b'If-Match: "4"\r\nX-Request-ID' in seen[1]


def test_closed_client_is_unavailable() -> None:
    client = akidb.connect("http://127.0.0.1:1")
    client.close()
    client.close()
    with pytest.raises(akidb.Unavailable, match="was closed"):
        client.tenants.list()


def test_forked_process_opens_its_own_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    with _server(_say(b"HTTP/1.1 204 No Content\r\n\r\n"), _say(b"HTTP/1.1 204 No Content\r\n\r\n")) as url:
        transport = Transport(url, timeout_seconds=10)
        transport.send("GET", "/", None, {}, safe=True)
        parents = list(transport._idle)
        monkeypatch.setattr(os, "getpid", lambda: -1)
        transport.send("GET", "/", None, {}, safe=True)
        assert not set(parents) & set(transport._idle)
        for connection in parents:
            connection.close()
        transport.close()


def test_body_over_limit_is_not_sent() -> None:
    documents = [{"id": str(n), "text": "x" * 2**20} for n in range(65)]
    operations = HttpOperations("http://127.0.0.1:1", timeout_seconds=1)
    path = CollectionPath("t", "d", "c")
    with pytest.raises(akidb.InvalidArgument, match="67108864 bytes"):
        operations.perform(UpsertDocuments(**path._asdict(), documents=documents))


def test_https_url_does_not_fall_back_to_plain_http() -> None:
    with _server(lambda connection: connection.close()) as url:
        secure = url.replace("http:", "https:")
        with (
            akidb.connect(secure) as client,
            pytest.raises(akidb.Unavailable, match=f"cannot reach {secure}"),
        ):
            client.tenants.list()


def test_interrupted_call_discards_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    with _server(_say(_EMPTY, _EMPTY), _say(_EMPTY)) as url, akidb.connect(url) as client:
        assert client.tenants.list() == []

        def interrupt(_: object) -> bytes:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(HTTPResponse, "read", interrupt)
            with pytest.raises(KeyboardInterrupt):
                client.tenants.list()
        assert client.tenants.list() == []  # not what the interrupted call was answered
