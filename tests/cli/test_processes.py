"""Behaviour that needs real processes: signals, closed pipes, full disks, locked directories."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import Run

AKIDB = [sys.executable, "-m", "akidb"]


def _run(*arguments: str | Path, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [*AKIDB, *map(str, arguments)], capture_output=True, text=True, check=False, **more
    )


def test_console_script_and_module_are_equivalent() -> None:
    script = subprocess.run(
        [Path(sys.executable).with_name("akidb"), "--help"], capture_output=True, text=True, check=True
    )
    assert _run("--help").stdout == script.stdout


def test_closed_output_pipe_prints_no_error(akidb: Run, notes: str, tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text("".join(json.dumps({"id": f"{i:05}", "text": "x" * 500}) + "\n" for i in range(3_000)))
    assert akidb("document", "import", notes, file).status == 0
    for arguments in (["document", "export", notes], ["document", "count", notes]):
        process = subprocess.Popen([*AKIDB, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stderr is not None
        with process:
            process.stdout.close()
            assert process.stderr.read() == b""
        assert process.returncode == 1


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_full_disk_on_output_is_one_line_error(options: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [*AKIDB, "model", "list", *options], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "standard output cannot be written: No space left on device" in ended.stderr


def test_ctrl_c_exits_with_130_and_no_traceback(akidb: Run, notes: str, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = subprocess.Popen(
        [*AKIDB, "document", "import", notes, str(pipe)], stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process, pipe.open("w"):  # opened once the command reads
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, b"", b"")


@pytest.mark.parametrize("module", ["typer", "akidb.cli.tree", "akidb.cli.session"])
def test_ctrl_c_during_startup_prints_no_traceback(module: str) -> None:
    program = (
        "import builtins, os, signal, sys\n"
        "from akidb.cli.main import main\n"
        f"sys.modules.pop({module!r}, None)\n"
        "load = builtins.__import__\n"
        "def interrupted(name, *more):\n"
        f"    if name == {module!r}: os.kill(os.getpid(), signal.SIGINT)\n"
        "    return load(name, *more)\n"
        "builtins.__import__ = interrupted\n"
        "sys.exit(main(['--help']))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (ended.returncode, ended.stderr) == (130, b"")


def test_ctrl_c_during_import_reports_documents_written(akidb: Run, notes: str, tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text("".join(f'{{"id": "{i}", "text": "{i}"}}\n' for i in range(20_000)))
    process = subprocess.Popen(
        [*AKIDB, "document", "import", notes, str(file)], stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    stores = tmp_path / "akidb-data" / "tenants"
    with process:
        while not list(stores.glob("*.db-wal")):  # made when the first documents are written
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (130, b"")
    said = re.fullmatch(rb"interrupted: (\d+) documents had been written\n", err)
    assert said is not None
    assert int(said[1]) == akidb("document", "count", notes, "--json").json["count"]
    assert 0 < int(said[1]) < 20_000


def test_unwritable_directory(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert _run("--data", file, "tenant", "list").returncode == 2
    ended = _run("--data", file / "below", "tenant", "create", "Aki")
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that locks the directory and is not a server."""
    program = (
        "import sys, akidb\nwith akidb.connect('akidb-data'):\n print('open', flush=True)\n sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path
    )
    assert process.stdout is not None
    assert process.stdin is not None
    with process:
        assert process.stdout.readline() == b"open\n"
        yield process
        process.stdin.close()
        with contextlib.suppress(ProcessLookupError):
            process.wait(20)


def test_directory_locked_by_another_process_is_rejected_with_its_pid(
    akidb: Run, holder: subprocess.Popen[bytes]
) -> None:
    for arguments in (["tenant", "list"], ["doctor"], ["migrate", "schema", "--dry-run"], ["serve"]):
        result = akidb(*arguments, "--wait", "0")
        assert (result.status, result.out, result.err.count("\n")) == (1, "", 1)
        assert result.err.startswith("error: unavailable: ")
        assert f"process {holder.pid} " in result.err
        assert "akidb serve" in result.err
    # The models of the machine are nobody's directory.
    assert akidb("embed", "x", "--model", "hash").status == 0


def _ends_when_waited_for(holder: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Let the holder close the directory as soon as this process waits for it; return the pauses."""
    pauses: list[float] = []
    pause = time.sleep

    def ending(seconds: float) -> None:
        if not pauses:
            assert holder.stdin is not None
            holder.stdin.close()
        pauses.append(seconds)
        pause(seconds)

    monkeypatch.setattr("akidb.deployment.owner.time.sleep", ending)
    return pauses


@pytest.mark.parametrize(
    "arguments",
    [
        ["tenant", "list"],
        ["doctor", "--repair", "--dry-run"],
        ["migrate", "schema"],
        ["migrate", "v1-to-v2", "--dry-run", "--v1-data-dir", "empty", "--report", "report.json"],
    ],
    ids=" ".join,
)
def test_directory_of_another_command_is_waited_for(
    akidb: Run,
    holder: subprocess.Popen[bytes],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
) -> None:
    (tmp_path / "empty").mkdir()
    pauses = _ends_when_waited_for(holder, monkeypatch)
    result = akidb("--wait", "60", *arguments)
    assert (result.status, len(pauses) > 0) == (0, True), result.err


def test_connect_waits_for_the_directory_of_another_process(
    holder: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    import akidb

    pauses = _ends_when_waited_for(holder, monkeypatch)
    with akidb.connect("akidb-data", open_wait_seconds=60) as db:
        assert list(db.tenants) == []
    assert pauses


def test_error_after_waiting_says_how_long(
    akidb: Run, holder: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = akidb("tenant", "list", "--wait", "0.02")
    assert result.status == 1
    assert f"process {holder.pid} " in result.err
    assert result.err.endswith("; waited 0.02 s for it\n")
    monkeypatch.setenv("AKIDB_OPEN_WAIT_SECONDS", "0.03")
    assert akidb("--data", "akidb-data", "tenant", "list").err.endswith("; waited 0.03 s for it\n")
    for wait in ("-1", "nan", "inf", "soon"):
        assert akidb("tenant", "list", "--json", "--wait", wait).problem["field"] == "wait"


def test_short_commands_at_the_same_time_all_succeed(akidb: Run, tmp_path: Path) -> None:
    assert akidb("tenant", "create", "first").status == 0
    together = [
        subprocess.Popen(
            [*AKIDB, "--wait", "60", "tenant", "create", f"t{i}"], stderr=subprocess.PIPE, cwd=tmp_path
        )
        for i in range(4)
    ]
    said = [process.communicate(timeout=60)[1] for process in together]
    assert said == [b""] * 4
    assert akidb("tenant", "count", "--json").json["count"] == 5


def test_purge_asks_for_confirmation_on_terminal(akidb: Run, tmp_path: Path) -> None:
    import pty

    assert akidb("tenant", "create", "Aki").status == 0
    assert akidb("tenant", "delete", "aki").status == 0
    for answer, status in (("n", 1), ("y", 0)):
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(sys.executable, [*AKIDB, "tenant", "purge", "aki"])
        asked = b""
        while b"[y/N]" not in asked:
            asked += os.read(terminal, 1000)
        os.write(terminal, f"{answer}\n".encode())
        with contextlib.suppress(OSError):
            while os.read(terminal, 1000):
                pass
        os.close(terminal)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == status
    assert akidb("tenant", "list", "--deleted", "--json").json["items"] == []
