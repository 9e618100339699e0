"""No command looks up or connects to anything that was not configured, or leaves files in a home directory.

Commands run as users run them, with the real model, an empty home, and none of the variables by which a
dependency recognises a build machine and keeps quiet. `strace` records every connection and datagram.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

import akidb
from akidb.settings import load

AKIDB = [sys.executable, "-m", "akidb"]
SENDING = "connect,sendto,sendmsg,sendmmsg"
_KEPT = ("PATH", "LANG", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_SOCKET = re.compile(r'sa_family=AF_(?:INET6?|UNIX|NETLINK), (?:sun_path="([^"]*)")?.*')
MODELS = str((load().models_path or Path("none")).absolute())
MODEL = "all-minilm-l6-v2"


class Machine:
    """An empty home, and what commands there sent."""

    def __init__(self, folder: Path) -> None:
        self.home, self.temporary, self.work = folder / "home", folder / "tmp", folder / "work"
        self._trace = folder / "trace"
        for each in (self.home, self.temporary, self.work, self._trace):
            each.mkdir()
        self.environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        self.environment |= {"HOME": str(self.home), "TMPDIR": str(self.temporary)}
        self.environment |= {"AKIDB_MODELS_DIR": MODELS}

    @contextmanager
    def started(self, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
        record = self._trace / f"{len(list(self._trace.iterdir()))}-{arguments[0]}"
        command = [
            "strace",
            "-f",
            "-qq",
            "--seccomp-bpf",
            "-e",
            f"trace={SENDING}",
            "-o",
            str(record),
            *AKIDB,
        ]
        with subprocess.Popen(
            [*command, *map(str, arguments)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=self.work,
            env=self.environment,
        ) as process:
            yield process

    def run(self, *arguments: str | Path) -> str:
        with self.started(*arguments) as process:
            out, _ = process.communicate(timeout=120)
        assert process.returncode == 0, arguments
        return out

    def sent(self) -> dict[str, list[str]]:
        """The addresses that a command used, except AkiDB's own sockets; by command."""
        found: dict[str, list[str]] = {}
        for record in self._trace.iterdir():
            lines = [line for line in record.read_text(errors="replace").splitlines() if "sa_family" in line]
            strange = [line for line in lines if not self._is_own(line)]
            if strange:
                found[record.name] = strange
        return found

    def _is_own(self, line: str) -> bool:
        path = _SOCKET.search(line)
        name = None if path is None else path[1]
        # The name service cache is asked about users, not hosts.
        if name is None or "/nscd/" in name:
            return name is not None
        if name.startswith(str(self.temporary)):  # where the directory's own path is too long
            return name.endswith("/akidb.sock")
        return name.startswith((str(self.work), "akidb-data/"))

    def left(self) -> list[str]:
        """The files in the home and temporary directories."""
        places = (self.home, self.temporary)
        return [str(path) for place in places for path in place.rglob("*") if not path.is_dir()]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


@contextmanager
def serving(machine: Machine) -> Iterator[str]:
    """The URL of a traced server; it is stopped by a signal, like any."""
    with machine.started("--json", "serve", "--port", "0") as process:
        assert process.stdout is not None
        url: str = json.loads(process.stdout.readline())["url"]
        try:
            yield url
        finally:
            tracer = process.pid
            (server,) = Path(f"/proc/{tracer}/task/{tracer}/children").read_text().split()
            os.kill(int(server), signal.SIGTERM)
            assert process.wait(60) == 0


def post(url: str, body: object) -> bytes:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        content: bytes = answer.read()
        return content


def embed_over_http(url: str) -> None:
    assert b"embedding" in post(f"{url}/v1/embeddings", {"input": "hello there"})


COMMANDS: Sequence[Sequence[str]] = [
    ("model", "list"),
    ("model", "pull", MODEL),
    ("embed", "hello there"),
    ("document", "import", "aki-labs/kb/notes", "notes.jsonl"),
    ("search", "aki-labs/kb/notes", "where are vectors kept?"),
]
"""What loads a model, or what installs and lists them, in an order in which each succeeds."""
OTHERS: Sequence[Sequence[str]] = [
    ("--version",),
    ("tenant", "list"),
    ("backup", "kept.akidb"),
    ("--data", "restored", "restore", "kept.akidb"),
    ("doctor",),
    ("maintain",),
    ("demo",),
]


def test_commands_call_nobody_and_leave_no_file(machine: Machine) -> None:
    (machine.work / "notes.jsonl").write_text('{"id": "a", "text": "Vectors live in SQL."}\n')
    with akidb.connect(machine.work / "akidb-data") as db:
        kb = db.tenants.create("Aki Labs").databases.create("kb")
        kb.collections.create("notes", embedding_model=MODEL)
    for command in COMMANDS:
        machine.run(*command)
    with serving(machine) as url:
        embed_over_http(url)
        machine.run("search", "aki-labs/kb/notes", "through the socket")
        with urllib.request.urlopen(f"{url}/health/ready", timeout=60) as answer:
            assert answer.status == 200
    assert machine.sent() == {}
    assert machine.left() == []


@pytest.mark.slow
def test_other_commands_call_nobody_and_leave_no_file(machine: Machine) -> None:
    machine.environment["AKIDB_DEFAULT_MODEL"] = "hash"
    machine.run("tenant", "create", "Some Tenant")
    for command in OTHERS:
        machine.run(*command)
    assert machine.sent() == {}
    assert machine.left() == []


@pytest.mark.slow
def test_server_that_embeds_for_half_a_minute_calls_nobody(machine: Machine) -> None:
    """What a dependency reports, it collects first: the first report came after 20 seconds."""
    with serving(machine) as url:
        until = time.monotonic() + 30
        while time.monotonic() < until:
            embed_over_http(url)
            time.sleep(1)
    assert machine.sent() == {}
    assert machine.left() == []


def test_records_show_what_is_sent(machine: Machine) -> None:
    """What the tests above rely on: a connection to any address shows."""
    with pytest.raises(AssertionError):
        machine.run("--url", "http://127.0.0.1:9", "tenant", "list")
    (lines,) = machine.sent().values()
    assert "127.0.0.1" in lines[0]
