"""`akidb serve`, and commands through its socket and its URL."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from .conftest import Run

AKIDB = [sys.executable, "-m", "akidb"]


class Served(NamedTuple):
    process: subprocess.Popen[bytes]
    url: str
    socket: Path


@contextlib.contextmanager
def _serving(directory: Path, *options: str) -> Iterator[Served]:
    process = subprocess.Popen(
        [*AKIDB, "--data", str(directory), "--json", "serve", "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    with process:
        line = process.stdout.readline()
        assert line, process.communicate()
        said: dict[str, Any] = json.loads(line)
        try:
            yield Served(process, said["url"], Path(said["socket"]))
        finally:
            process.terminate()


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with _serving(tmp_path / "akidb-data") as served:
        yield served


def test_commands_use_socket_of_served_directory(akidb: Run, served: Served, tmp_path: Path) -> None:
    assert akidb("tenant", "create", "Aki Labs").status == 0
    assert akidb("database", "create", "aki-labs", "kb").status == 0
    assert akidb("collection", "create", "aki-labs/kb", "notes", "--embedding-model", "hash").status == 0
    file = tmp_path / "x.jsonl"
    file.write_text("".join(f'{{"id": "{i:03}", "text": "text {i}"}}\n' for i in range(300)))
    assert akidb("document", "import", "aki-labs/kb/notes", file, "--json").json["imported"] == 300
    for place in ([], ["--url", served.url], ["--url", f"unix://{served.socket}"]):
        assert akidb(*place, "document", "count", "aki-labs/kb/notes", "--json").json == {"count": 300}
        found = akidb(*place, "search", "aki-labs/kb/notes", "text 7", "--json").json
        assert found["matches"][0]["id"] == "007"
        assert found["statistics"]["scanned"] == 300
        assert (
            len(akidb(*place, "document", "export", "aki-labs/kb/notes", "--vectors").out.splitlines()) == 300
        )
        assert akidb(*place, "document", "get", "aki-labs/kb/notes", "nope").status == 3
        assert akidb(*place, "tenant", "create", "x", "--slug", "aki-labs").status == 4
        assert akidb(*place, "tenant", "get", "nobody").status == 3
        assert akidb(*place, "tenant", "update", "aki-labs", "--qps", "50", "--if-version", "99").status == 4
        assert akidb(*place, "tenant", "list", "--limit", "0").status == 2
        assert akidb(*place, "audit", "list", "aki-labs", "--json").json["items"]
        assert akidb(*place, "doctor", "--json").json["ok"] is True
        assert akidb(*place, "tenant", "list").out.count("aki-labs") == 1


def test_output_is_same_in_process_and_through_server(akidb: Run, tmp_path: Path) -> None:
    questions = (
        ["tenant", "get", "aki"],
        ["tenant", "list"],
        ["tenant", "usage", "aki"],
        ["audit", "list", "aki"],
        ["doctor"],
        ["tenant", "get", "nobody"],
        ["tenant", "update", "aki", "--slug", "../x"],
    )
    assert akidb("tenant", "create", "aki").status == 0
    before = [akidb(*question, "--json") for question in questions]
    with _serving(tmp_path / "akidb-data"):
        after = [akidb(*question, "--json") for question in questions]
    assert before == after


def test_models_of_server(akidb: Run, served: Served) -> None:
    there = akidb("--url", served.url, "model", "list", "--json").json
    assert {model["name"] for model in there["items"]} >= {"hash"}
    assert akidb("--url", served.url, "model", "info", "hash", "--json").json["name"] == "hash"
    here = akidb("embed", "one", "--model", "hash", "--json").json
    remote = akidb("--url", served.url, "embed", "one", "--model", "hash", "--json").json
    assert remote["vectors"][0] == pytest.approx(here["vectors"][0], abs=1e-6)


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_server_cleanly(akidb: Run, served: Served, stop: signal.Signals) -> None:
    assert akidb("tenant", "create", "aki").status == 0
    served.process.send_signal(stop)
    out, err = served.process.communicate(timeout=30)
    assert (served.process.returncode, out) == (0, b"")
    assert b"Traceback" not in err
    assert not served.socket.exists()
    assert akidb("tenant", "get", "aki").status == 0


def test_serve_prints_listening_address(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*AKIDB, "--data", str(tmp_path / "d"), "serve", "--port", "0", "--no-auth"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process:
        line = process.stderr.readline()
        assert line.startswith(f"serving {tmp_path / 'd'} at http://127.0.0.1:")
        os.kill(process.pid, signal.SIGTERM)
        assert process.communicate(timeout=30) == ("", "")


def test_serve_errors_are_one_line(akidb: Run, served: Served) -> None:
    refused = akidb("serve", "--port", "0")
    assert (refused.status, refused.err.count("\n")) == (1, 1)
    assert f"process {served.process.pid} (akidb serve); it is a server" in refused.err
    assert refused.err.endswith(f" at unix://{served.socket}\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        result = akidb("--data", "other", "serve", "--port", port)
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert port in result.err
    assert akidb("--data", "other", "serve", "--host", "0.0.0.0").status == 2
    assert akidb("--data", "other", "serve", "--port", "65536").status == 2
    assert akidb("--url", served.url, "serve").status == 2
