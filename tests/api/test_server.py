"""The server process: sockets, startup and shutdown."""

import json
import signal
import socket
import stat
import threading
import time
from pathlib import Path

import httpx
import pytest

from akidb.api.server import serve
from akidb.api.sockets import UnixSocket, bind_tcp, url_of
from akidb.deployment.local import open_local
from akidb.deployment.owner import DirectoryHeld
from akidb.domain.errors import InvalidArgument, Unavailable
from akidb.operations.tenants import ListTenants
from akidb.operations.upkeep import CheckStores
from akidb.settings import Settings

from .conftest import problem
from .running import client, half_sent, process, threaded


def test_port_in_use_is_reported_and_nothing_is_opened(tmp_path: Path) -> None:
    with bind_tcp("127.0.0.1", 0) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=f"127.0.0.1:{port}: the address is already in use"):
            serve(tmp_path / "data", Settings(), port=port)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "no-such-host.invalid", "a\x00b"])
def test_server_listens_only_on_loopback(tmp_path: Path, host: str) -> None:
    with pytest.raises(InvalidArgument, match="host"):
        serve(tmp_path / "data", Settings(), host, 0)
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("port", [-1, 65536])
def test_invalid_port_is_rejected(tmp_path: Path, port: int) -> None:
    with pytest.raises(InvalidArgument, match="port"):
        serve(tmp_path / "data", Settings(), port=port)


def test_unbindable_address_is_unavailable() -> None:
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
        _bind_privileged()


def _bind_privileged() -> None:
    """Bind port 1: permission denied for ordinary users, already in use for root."""
    with bind_tcp("127.0.0.1", 1) as first:
        first.listen()
        bind_tcp("127.0.0.1", 1).close()


def test_url_of_host_name_and_ipv6_address() -> None:
    with bind_tcp("localhost", 0) as bound:
        assert url_of(bound).startswith(("http://127.0.0.1:", "http://[::1]:"))
    if socket.has_ipv6 and Path("/proc/net/if_inet6").exists():
        with bind_tcp("::1", 0) as bound:
            assert url_of(bound) == f"http://[::1]:{bound.getsockname()[1]}"


def test_unix_socket_is_private_and_reported_to_other_processes(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    with process(directory) as running:
        assert running.socket == directory / "akidb.sock"
        mode = running.socket.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o600
        with pytest.raises(DirectoryHeld) as held:
            open_local(directory, Settings())
        assert held.value.socket == running.socket
        assert held.value.pid == running.process.pid
        assert running.stop() == 0
        assert not running.socket.exists()
    open_local(directory, Settings()).close()


def test_socket_is_outside_directory_with_long_path(tmp_path: Path) -> None:
    directory = tmp_path / ("x" * 120)
    with process(directory) as running:
        assert running.socket.parent.parent != directory
        assert stat.S_IMODE(running.socket.parent.stat().st_mode) == 0o700
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(running.socket))) as http:
            assert http.get("http://akidb/health/live").status_code == 200
        assert running.stop() == 0
        assert not running.socket.parent.exists()


def test_stale_socket_is_replaced_and_missing_directory_is_reported(tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "akidb.sock"))
    left.close()
    made = UnixSocket(tmp_path)
    made.close()
    assert not made.path.exists()
    with pytest.raises(Unavailable, match="cannot listen on"):
        UnixSocket(tmp_path / "missing")


def test_locked_directory_is_not_served_twice(tmp_path: Path) -> None:
    with process(tmp_path / "data") as running:
        with pytest.raises(DirectoryHeld):
            serve(tmp_path / "data", Settings(), port=0)
        assert running.socket.exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_drains_slow_requests_and_rejects_new_ones(tmp_path: Path, number: signal.Signals) -> None:
    texts = [f"A long text about number {i} " * 40 for i in range(100)]
    with process(tmp_path / "data") as running, client(running.url) as http:
        computed: list[httpx.Response] = []
        request = {"input": texts, "model": "all-minilm-l6-v2"}
        computing = threading.Thread(
            target=lambda: computed.append(
                httpx.post(f"{running.url}/v1/embeddings", json=request, timeout=60)
            )
        )
        computing.start()
        body = b'{"name": "Finished"}'
        _wait_for(http, "akidb_http_requests_in_flight 2.0")
        with half_sent(running.url, body) as half:
            running.process.send_signal(number)
            refused = _refusals(http, running.url)
            assert running.process.poll() is None
            half.sendall(body[len(body) // 2 :])
            assert half.recv(65536).startswith(b"HTTP/1.1 201 ")
        computing.join(60)
        assert computed[0].status_code == 200
        assert len(computed[0].json()["data"]) == len(texts)
        assert running.process.wait(30) == 0
        assert refused
        assert "Traceback" not in running.log.read_text()
    operations = open_local(tmp_path / "data", Settings())
    assert [tenant.name for tenant in operations.perform(ListTenants()).items] == ["Finished"]
    assert all(finding.ok for finding in operations.perform(CheckStores()).items)
    operations.close()


def _wait_for(http: httpx.Client, figure: str) -> None:
    for _ in range(2000):
        if figure in http.get("/metrics").text:
            return
        time.sleep(0.005)
    raise AssertionError(figure)


def _refusals(http: httpx.Client, url: str) -> int:
    """Send requests, on the open connection and then on new ones, until connections are refused."""
    refusals = 0
    for _ in range(2000):
        try:
            answer = http.post("/v1/tenants", json={"name": ""})
        except httpx.ConnectError:
            return refusals + 1
        except httpx.TransportError:  # the open connection was closed
            refusals += 1
        else:
            if answer.status_code != 400:  # before the signal came through
                problem(answer, 503, "unavailable")
                refusals += 1
    raise AssertionError(f"{url} still takes connections")


def test_draining_server_responds_unavailable(tmp_path: Path) -> None:
    with threaded(tmp_path / "data") as running, client(running.url) as http:
        assert http.get("/health/ready").status_code == 200
        running.app.drain()
        problem(http.get("/health/ready"), 503, "unavailable")
        problem(http.post("/v1/tenants", json={"name": "Late"}), 503, "unavailable")
        assert http.get("/health/live").status_code == 200
        assert running.operations.perform(ListTenants()).items == []


def test_second_signal_stops_without_waiting_for_clients(tmp_path: Path) -> None:
    with process(tmp_path / "data") as running, half_sent(running.url, b'{"name": "Never finished"}'):
        running.process.terminate()
        time.sleep(0.3)
        assert running.process.poll() is None
        running.process.terminate()
        assert running.process.wait(10) == 0
        logged = [json.loads(line) for line in running.log.read_text().splitlines()]
    assert [line["status"] for line in logged if line.get("method") == "POST"] == [499]
    operations = open_local(tmp_path / "data", Settings())
    assert operations.perform(ListTenants()).items == []
    operations.close()


def test_responses_are_not_delayed_by_nagle(tmp_path: Path) -> None:
    """Nagle's algorithm with delayed acknowledgement would cost 40 ms per response."""
    with threaded(tmp_path / "data", log_level="warning") as running, client(running.url) as http:
        http.get("/health/live")
        begun = time.perf_counter()
        for _ in range(50):
            http.get("/health/live")
        assert time.perf_counter() - begun < 50 * 0.03


def test_files_are_private_to_their_user(tmp_path: Path) -> None:
    with process(tmp_path / "data") as running:
        with client(running.url) as http:
            assert http.post("/v1/tenants", json={"name": "x"}).status_code == 201
        for path in (tmp_path / "data").iterdir():
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
        assert (tmp_path / "data").stat().st_mode & 0o077 == 0
