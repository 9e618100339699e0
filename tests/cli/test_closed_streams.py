"""Commands whose standard streams are closed, as a supervisor or `>&-` leaves them."""

import subprocess
import sys
from pathlib import Path

import pytest

from akidb.cli.main import main

SHELL = '"$0" -m akidb --data d "$@" {}'


def run(streams: str, *words: str) -> "subprocess.CompletedProcess[str]":
    """Run a command with redirections of a shell."""
    return subprocess.run(
        ["sh", "-c", SHELL.format(streams), sys.executable, *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


@pytest.fixture(autouse=True)
def _tenant(tmp_path: Path) -> None:
    assert main(["--data", "d", "tenant", "create", "Acme"]) == 0


@pytest.mark.parametrize("reason", ["Bad file descriptor", "No space left on device"])
@pytest.mark.parametrize(
    "command", [("tenant", "list"), ("-h",), ("--version",), ("backup", "-")], ids=" ".join
)
def test_closed_or_full_output_is_named(command: tuple[str, ...], reason: str) -> None:
    done = run(">&-" if reason.startswith("Bad") else ">/dev/full", *command)
    assert (done.returncode, done.stderr) == (
        1,
        f"error: unavailable: standard output cannot be written: {reason}\n",
    )


@pytest.mark.slow
def test_command_works_without_a_place_for_its_errors() -> None:
    listed = run("2>&-", "tenant", "list")
    assert (listed.returncode, "acme" in listed.stdout) == (0, True)
    assert run("2>&-", "tenant", "get", "nobody").returncode == 3
    assert run("<&- >&- 2>&-", "tenant", "get", "nobody").returncode == 3
    assert run("<&- >&- 2>&-", "nothing").returncode == 2


def test_closed_input_is_named() -> None:
    for words in (
        ("database", "create", "acme", "d"),
        ("collection", "create", "acme/d", "c", "--dimension", "16"),
    ):
        assert run("<&-", *words).returncode == 0
    done = run("<&-", "document", "import", "acme/d/c", "-")
    assert (done.returncode, done.stderr) == (
        1,
        "error: unavailable: standard input cannot be read: Bad file descriptor\n",
    )


def test_closed_input_is_named_where_a_password_is_read() -> None:
    done = run("<&-", "user", "create", "acme", "a@example.org", "--password-stdin")
    assert (done.returncode, done.stderr) == (
        1,
        "error: unavailable: standard input cannot be read: Bad file descriptor\n",
    )


def test_no_file_takes_the_place_of_a_closed_stream() -> None:
    """What libraries print would be written into the first file that is opened."""
    done = subprocess.run(
        ["sh", "-c", '"$0" -c "$1" >&- <&-', sys.executable, _FIRST_FREE],
        capture_output=True,
        text=True,
        check=False,
    )
    assert int(done.stderr.splitlines()[-1]) > 2


_FIRST_FREE = """
import os, sys
from akidb.cli.main import main
main(["--version"])
print(os.open(os.devnull, os.O_RDONLY), file=sys.stderr)
"""
