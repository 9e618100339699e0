"""`akidb user`: users are shown, updated and verified; passwords are piped or typed, never arguments."""

import contextlib
import io
import os
import pty
import select
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Run

SECRET = "correct horse"


class Piped:
    """Standard input with preset content."""

    def __init__(self, content: bytes, *, is_terminal: bool = False) -> None:
        self.buffer = io.BytesIO(content)
        self._is_terminal = is_terminal

    def isatty(self) -> bool:
        return self._is_terminal


@pytest.fixture
def aki(akidb: Run) -> str:
    assert akidb("tenant", "create", "Aki").status == 0
    return "aki"


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> "Pipe":
    return Pipe(monkeypatch)


class Pipe:
    """Set standard input for the next command."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def __call__(self, content: str | bytes, *, is_terminal: bool = False) -> None:
        encoded = content if isinstance(content, bytes) else content.encode()
        self._monkeypatch.setattr(sys, "stdin", Piped(encoded, is_terminal=is_terminal))


def test_user_lifecycle(akidb: Run, aki: str, pipe: Pipe) -> None:
    pipe(SECRET + "\n")
    made = akidb("user", "create", aki, "Bob@x", "--role", "admin", "--password-stdin", "--json").json
    assert (made["email"], made["role"], made["status"], made["version"]) == ("Bob@x", "admin", "active", 1)
    assert not {"password", "password_hash", "email_key"} & set(made)
    assert akidb("user", "get", aki, "bob@X", "--json").json == made
    assert akidb("user", "get", aki, made["user_id"], "--json").json == made
    assert akidb("user", "list", aki, "--json").json == {"items": [made], "next_cursor": None}
    assert "Bob@x" in akidb("user", "list", aki).out
    assert akidb("user", "count", aki, "--json").json == {"count": 1}
    changed = akidb("user", "update", aki, "bob@x", "--email", "rob@x", "--role", "viewer", "--json").json
    assert (changed["email"], changed["role"], changed["version"]) == ("rob@x", "viewer", 2)
    for verb, status in (("suspend", "suspended"), ("deactivate", "deactivated"), ("activate", "active")):
        assert akidb("user", verb, aki, "rob@x", "--json").json["status"] == status
    assert akidb("user", "delete", aki, "rob@x", "--if-version", "1").status == 4
    assert akidb("user", "delete", aki, "rob@x", "--json").json == {"deleted": "rob@x"}
    assert akidb("user", "get", aki, "rob@x").status == 3


def test_piped_password_is_verified(akidb: Run, aki: str, pipe: Pipe) -> None:
    pipe(SECRET + "\r\n")
    assert akidb("user", "create", aki, "bob@x", "--password-stdin").status == 0
    pipe(SECRET)
    seen = akidb("user", "verify-password", aki, "BOB@x", "--password-stdin", "--json").json
    assert seen["last_login_at"] is not None
    for email, password in (("bob@x", "wrong"), ("nobody@x", SECRET)):
        pipe(password)
        result = akidb("user", "verify-password", aki, email, "--password-stdin", "--json")
        assert (result.status, result.problem["code"]) == (5, "unauthenticated")
    pipe("another horse")
    assert akidb("user", "update", aki, "bob@x", "--password-stdin").status == 0
    pipe("another horse\n")
    assert akidb("user", "verify-password", aki, "bob@x", "--password-stdin").status == 0


def at_a_terminal(*arguments: str, typed: list[tuple[str, str]]) -> tuple[int, str]:
    """Run a command on a real terminal and type each answer after its prompt appears."""
    own, its = pty.openpty()
    shown = ""

    def read() -> str:
        ready, _, _ = select.select([own], [], [], 30)
        assert ready, f"nothing more came after {shown!r}"
        with contextlib.suppress(OSError):  # how a terminal ends whose other side is closed
            return os.read(own, 1024).decode()
        return ""

    with subprocess.Popen(
        [sys.executable, "-m", "akidb", *arguments], stdin=its, stdout=its, stderr=its, start_new_session=True
    ) as process:
        os.close(its)
        try:
            for question, answer in typed:
                while question not in shown and (more := read()):
                    shown += more
                assert question in shown
                shown = shown.rpartition(question)[2]
                os.write(own, f"{answer}\n".encode())
            while more := read():
                shown += more
        finally:
            process.kill()  # where it has not ended by itself
            os.close(own)
    return process.returncode, shown


def test_password_is_prompted_twice_without_echo_on_terminal(akidb: Run, aki: str, pipe: Pipe) -> None:
    asked, again = "Password: ", "confirmation: "  # the last space comes when nothing typed is shown
    status, shown = at_a_terminal(
        *("user", "create", aki, "bob@x"),
        typed=[(asked, SECRET), (again, "other"), (asked, SECRET), (again, SECRET)],
    )
    assert (status, "bob@x" in shown, SECRET in shown) == (0, True, False)
    status, shown = at_a_terminal("user", "verify-password", aki, "bob@x", typed=[(asked, SECRET)])
    assert (status, "last_login_at" in shown, SECRET in shown) == (0, True, False)
    typed = [(asked, "another horse"), (again, "another horse")]
    assert at_a_terminal("user", "update", aki, "bob@x", "--password", typed=typed)[0] == 0
    pipe("another horse")
    assert akidb("user", "verify-password", aki, "bob@x", "--password-stdin").status == 0


def test_separate_process_hashes_with_second_recommended_option_of_rfc_9106(aki: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "akidb", "user", "create", aki, "bob@x", "--password-stdin"]
    subprocess.run(command, input=SECRET, text=True, check=True, capture_output=True)
    with contextlib.closing(sqlite3.connect(tmp_path / "akidb-data" / "metadata.db")) as metadata:
        [(stored,)] = metadata.execute("SELECT password_hash FROM users").fetchall()
    assert stored.startswith("$argon2id$v=19$m=65536,t=3,p=4$")


@pytest.mark.parametrize(
    "arguments",
    [
        ["create", "aki", "bob@x"],
        ["verify-password", "aki", "bob@x"],
        ["update", "aki", "bob@x", "--password"],
    ],
)
def test_password_must_be_piped_without_terminal(
    akidb: Run, aki: str, pipe: Pipe, arguments: list[str]
) -> None:
    pipe(SECRET)
    problem = akidb("user", *arguments, "--json").problem
    assert (problem["code"], problem["field"]) == ("invalid_argument", "password")
    assert "--password-stdin" in problem["detail"]


def test_no_command_takes_password_as_argument(akidb: Run, aki: str) -> None:
    for arguments in (["create", aki, "bob@x"], ["update", aki, "bob@x"], ["verify-password", aki, "bob@x"]):
        for given in (["--password-stdin=" + SECRET], ["--password", SECRET], ["--password=" + SECRET]):
            assert akidb("user", *arguments, *given).status == 2, given


@pytest.mark.parametrize("content", [b"", b"\n", b"short", b"p" * 1025, b"p" * 5000, b"\xff" * 10])
def test_invalid_password_is_rejected(akidb: Run, aki: str, pipe: Pipe, content: bytes) -> None:
    pipe(content)
    problem = akidb("user", "create", aki, "bob@x", "--password-stdin", "--json").problem
    assert (problem["code"], problem["field"]) == ("invalid_argument", "password")
    assert akidb("user", "list", aki, "--json").json["items"] == []


def test_failed_user_commands_have_expected_exit_status(
    akidb: Run, aki: str, pipe: Pipe, tmp_path: Path
) -> None:
    pipe(SECRET)
    assert akidb("user", "create", aki, "bob@x", "--password-stdin").status == 0
    pipe(SECRET)
    assert akidb("user", "create", aki, "BOB@x", "--password-stdin").status == 4
    pipe(SECRET)
    assert akidb("user", "create", "nobody", "bob@x", "--password-stdin").status == 3
    pipe(SECRET)
    assert akidb("user", "create", aki, "bob", "--password-stdin").status == 2
    assert akidb("user", "update", aki, "bob@x").status == 2
    assert akidb("user", "update", aki, "bob@x", "--role", "owner").status == 2
    assert akidb("user", "update", aki, "bob@x", "--password", "--password-stdin").status == 2
    assert akidb("user", "list", aki, "--cursor", "garbage").status == 2
    assert akidb("user", "get", aki, "../x").status == 2
    assert akidb("user", "suspend", aki, "nobody@x").status == 3
    assert akidb("user", "deactivate", aki, "bob@x").status == 0
    assert akidb("user", "suspend", aki, "bob@x").status == 4
