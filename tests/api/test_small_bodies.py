"""Requests with small bodies begin when these are complete, so that unfinished ones cost next to nothing."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from akidb.api.limits import Limits
from akidb.domain.entities import Tenant
from akidb.operations.tenants import CreateTenant

from .running import (
    Threaded,
    carry_out,
    client,
    head,
    json_head,
    said,
    sending,
    threaded,
    unbegun,
    until,
)

SMALL = 16 * 1024
JSON = "Content-Type: application/json"
SHORT = Limits(window_seconds=0.4, linger_seconds=0.4)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Threaded]:
    with threaded(tmp_path / "data") as served:
        yield served


@pytest.fixture
def short(tmp_path: Path) -> Iterator[Threaded]:
    with threaded(tmp_path / "data", SHORT) as served:
        yield served


def posted(name: str) -> bytes:
    body = b'{"name": "%s"}' % name.encode()
    return json_head("/v1/tenants", len(body)) + body


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


def heard(connection: socket.socket, count: int) -> bytes:
    """What the server sends until it has begun this many responses, whose heads come whole."""
    answer = b""
    while len(statuses(answer)) < count:
        piece = connection.recv(65536)
        assert piece, answer
        answer += piece
    return answer


def test_unfinished_bodies_have_no_tasks_and_are_answered_when_complete(running: Threaded) -> None:
    with ExitStack() as open_:
        sent = [posted(f"Tenant {n}") for n in range(50)]
        slow = [open_.enter_context(sending(running.url, each[:-9])) for each in sent]
        until(lambda: len(unbegun(running)) == 50)
        until(lambda: not running.server.server_state.tasks)
        with client(running.url) as http:
            assert "akidb_http_requests_in_flight 1.0" in http.get("/metrics").text
            for connection, whole in zip(slow, sent, strict=True):
                connection.sendall(whole[-9:-4])
            for connection, whole in zip(slow, sent, strict=True):
                connection.sendall(whole[-4:] + head("GET", "/health/live"))
            for connection in slow:
                assert statuses(heard(connection, 2)) == [201, 200]
            assert len(http.get("/v1/tenants").json()["items"]) == 50


@pytest.mark.parametrize(
    ("framing", "begins"),
    [
        (["Content-Length: 1"], False),
        ([f"Content-Length: {SMALL}"], False),
        ([f"Content-Length: {SMALL + 1}"], True),
        (["Transfer-Encoding: chunked"], True),
        (["Content-Length: 100", "Expect: 100-continue"], True),
    ],
)
def test_only_small_declared_bodies_are_waited_for(
    running: Threaded, framing: list[str], begins: bool
) -> None:
    with sending(running.url, head("POST", "/v1/tenants", JSON, *framing)):
        if begins:
            until(lambda: len(running.server.server_state.tasks) == 1)
            assert unbegun(running) == []
        else:
            until(lambda: len(unbegun(running)) == 1)
            until(lambda: not running.server.server_state.tasks)


def test_body_of_the_largest_small_size_is_served(running: Threaded) -> None:
    body = b'{"name": "Padded"}'.ljust(SMALL)
    with sending(running.url, json_head("/v1/tenants", SMALL) + body[:-1]) as slow:
        until(lambda: unbegun(running) == [SMALL - 1])
        slow.sendall(body[-1:])
        assert statuses(heard(slow, 1)) == [201]


def counted(status: int, count: int) -> str:
    return f'akidb_http_requests_total{{method="POST",route="/v1/tenants",status="{status}"}} {count}.0'


def test_clients_that_go_are_counted(running: Threaded) -> None:
    with client(running.url) as http:
        with ExitStack() as open_:
            for _ in range(30):
                open_.enter_context(sending(running.url, posted("Gone")[:-1]))
            until(lambda: len(unbegun(running)) == 30)
        until(lambda: counted(499, 30) in http.get("/metrics").text)
        assert http.get("/v1/tenants").json()["items"] == []


def test_bodies_that_are_too_slow_are_refused_and_counted(short: Threaded) -> None:
    with client(short.url) as http, ExitStack() as open_:
        slow = [open_.enter_context(sending(short.url, posted("Slow")[:-1])) for _ in range(30)]
        for connection in slow:
            answer = said(connection)
            assert statuses(answer) == [408]
            assert b"urn:akidb:error:request_timeout" in answer
        until(lambda: counted(408, 30) in http.get("/metrics").text)
        figures = http.get("/metrics").text
        assert 'akidb_http_clients_cut_total{reason="request_timeout"} 30.0' in figures
        assert "akidb_http_requests_in_flight 1.0" in figures
        assert http.get("/v1/tenants").json()["items"] == []


def held(running: Threaded, monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Events: the creation of a tenant has begun; it may go on."""
    entered, release = threading.Event(), threading.Event()
    perform = running.operations.perform

    def create(asked: CreateTenant) -> Tenant:
        entered.set()
        assert release.wait(30)
        return perform(asked)

    carry_out(monkeypatch, running, {CreateTenant: create})
    return entered, release


def test_unfinished_body_behind_another_request_is_answered_after_it(
    running: Threaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, release = held(running, monkeypatch)
    second = posted("Second")
    with sending(running.url, posted("First") + second[:-1]) as slow:
        assert entered.wait(30)
        slow.sendall(second[-1:] + head("GET", "/health/live"))
        release.set()
        assert statuses(heard(slow, 3)) == [201, 201, 200]


def test_unfinished_body_behind_another_request_is_refused_after_it(
    short: Threaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, release = held(short, monkeypatch)
    with sending(short.url, posted("First") + posted("Second")[:-1]) as slow, client(short.url) as http:
        assert entered.wait(30)
        cut = 'akidb_http_clients_cut_total{reason="request_timeout"} 1.0'
        until(lambda: cut in http.get("/metrics").text)
        release.set()
        assert statuses(said(slow)) == [201, 408]


def test_request_that_arrived_before_the_shutdown_is_served(running: Threaded) -> None:
    early = posted("Early")
    with client(running.url) as http, sending(running.url, early[:-1]) as slow:
        until(lambda: len(unbegun(running)) == 1)
        running.app.drain()
        with sending(running.url, posted("Late")[:-1]) as late:
            until(lambda: len(unbegun(running)) == 2)
            late.sendall(posted("Late")[-1:])
            assert statuses(heard(late, 1)) == [503]
        slow.sendall(early[-1:])
        assert statuses(heard(slow, 1)) == [201]
        assert http.get("/health/live").status_code == 200


def test_body_behind_the_head_of_a_tunnel_is_not_waited_for(running: Threaded) -> None:
    with sending(running.url, head("CONNECT", "/v1/tenants", JSON, "Content-Length: 13")) as tunnel:
        assert statuses(said(tunnel)) == [405]
