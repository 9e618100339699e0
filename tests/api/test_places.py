"""Which connection is closed for the next one, and how much of a refused request is read."""

import socket
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from akidb.api.limits import Limits

from .running import client, head, json_head, said, sending, threaded

UNTIL_SILENT = 1.0
MOST_SENT = 512 * 2**20


def is_open(connection: socket.socket) -> bool:
    """Return whether the server has closed a connection that was sent nothing."""
    connection.settimeout(0.01)
    try:
        return bool(connection.recv(1))
    except TimeoutError:
        return True
    except ConnectionError:
        return False


def answered(connection: socket.socket) -> bool:
    connection.sendall(head("GET", "/health/live"))
    return connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_silent_connections_go_first_and_soon(tmp_path: Path) -> None:
    limits = Limits(connections=8, crowded_seconds=100 * UNTIL_SILENT)
    with threaded(tmp_path / "data", limits) as running, ExitStack() as open_:
        established = open_.enter_context(sending(running.url, b""))
        assert answered(established)
        silent = [open_.enter_context(sending(running.url, b"")) for _ in range(7)]
        with httpx.Client(base_url=running.url, timeout=8 * UNTIL_SILENT) as late:
            assert late.get("/health/live").status_code == 200
            assert not is_open(silent[0])  # the oldest one
            assert all(is_open(each) for each in silent[1:])
        assert answered(established)


def test_garbage_is_not_counted_as_a_client_that_holds_too_much(tmp_path: Path) -> None:
    with threaded(tmp_path / "data") as running:
        with sending(running.url, b"\x16\x03\x01 garbage\r\n\r\n") as connection:
            assert said(connection).startswith(b"HTTP/1.1 400 ")
        with client(running.url) as http:
            figures = http.get("/metrics").text
    assert "akidb_http_clients_cut_total{" not in figures


@pytest.mark.parametrize(
    "refused",
    [
        head("GET", "/health/live", "A: " + "b" * 70_000),
        head("POST", "/v1/tenants", "Content-Type: application/json", "Content-Length: 99999999999"),
    ],
    ids=["head", "body"],
)
def test_rest_of_a_refused_request_is_read_only_so_far(tmp_path: Path, refused: bytes) -> None:
    limits = Limits(linger_seconds=120, body_bytes=4 * 2**20)
    with (
        threaded(tmp_path / "data", limits) as running,
        sending(running.url, refused) as connection,
        pytest.raises(ConnectionError),
    ):
        _send_much(connection)


def _send_much(connection: socket.socket) -> None:
    for _ in range(MOST_SENT // 2**20):
        connection.sendall(b"x" * 2**20)


def test_short_rest_of_a_refused_request_does_not_lose_the_answer(tmp_path: Path) -> None:
    with threaded(tmp_path / "data") as running:
        long = json_head("/v1/tenants", 2**30) + b" " * (8 * 2**20)
        with sending(running.url, long) as connection:
            assert said(connection).startswith(b"HTTP/1.1 413 ")
