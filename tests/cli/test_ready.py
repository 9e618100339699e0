"""`akidb ready`: the health check of a server, by its URL, its socket and its directory."""

import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import akidb as library

from .conftest import Run
from .test_serve import Served, _serving


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with _serving(tmp_path_factory.mktemp("served") / "akidb-data") as served:
        yield served


@pytest.fixture
def silent() -> Iterator[str]:
    """The URL of a server that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@pytest.fixture(params=[404, 200])
def another(request: pytest.FixtureRequest) -> Iterator[str]:
    """The URL of a server of something else."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(request.param)
            self.send_header("Content-Length", "6")
            self.end_headers()
            self.wfile.write(b"<html>")

        def log_message(self, format: str, *args: object) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_working_server_is_ready_wherever_it_is_asked(
    akidb: Run, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in (
        ("--url", served.url),
        ("--url", f"unix://{served.socket}"),
        ("--data", served.socket.parent),
    ):
        result = akidb(*place, "ready")
        assert (result.status, result.err) == (0, "")
        assert result.out.endswith(" is ready\n")
        assert akidb(*place, "ready", "--json").json == {"status": "ok"}
    monkeypatch.setenv("AKIDB_URL", str(served.socket.parent))
    assert akidb("ready").status == 0


def refusal(akidb: Run, *words: str | Path) -> str:
    result = akidb(*words)
    assert (result.status, result.out) == (1, "")
    assert result.err.startswith("error: unavailable: ")
    return result.err


def test_silent_foreign_or_absent_server_is_not_ready(
    akidb: Run, silent: str, another: str, tmp_path: Path
) -> None:
    err = refusal(akidb, "--url", silent, "ready", "--timeout", "0.1")
    assert "did not answer within 0.1 seconds" in err
    assert f"{another} is not ready" in refusal(akidb, "--url", another, "ready")
    assert "no server listens" in refusal(akidb, "--url", f"unix://{tmp_path}/akidb.sock", "ready")


def test_directory_without_a_server_is_not_ready_and_not_opened(akidb: Run, tmp_path: Path) -> None:
    absent = tmp_path / "absent"
    assert f"no server has {absent} open" in refusal(akidb, "--data", absent, "ready")
    assert not absent.exists()
    with library.connect(tmp_path / "embedded"):
        assert "no server has" in refusal(akidb, "--data", tmp_path / "embedded", "ready")


def test_server_that_lost_its_metadata_or_was_killed_is_not_ready(akidb: Run, tmp_path: Path) -> None:
    directory = tmp_path / "akidb-data"
    with _serving(directory) as served:
        assert akidb("ready").status == 0
        (directory / "metadata.db").unlink()
        assert "is not ready" in refusal(akidb, "ready")
        served.process.kill()
        served.process.wait()
        assert "no server listens on it" in refusal(akidb, "ready")


@pytest.mark.parametrize("given", ["0", "-1", "nan", "inf", "soon"])
def test_timeout_must_be_a_positive_number(akidb: Run, given: str) -> None:
    result = akidb("ready", "--timeout", given, "--json")
    assert (result.status, result.problem["field"]) == (2, "timeout")


def test_database_is_not_a_server(akidb: Run) -> None:
    result = akidb("--url", "postgresql://127.0.0.1/x", "ready", "--json")
    assert (result.status, result.problem["field"]) == (2, "url")
