"""Runs commands in this process, each test with its own directory and settings."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from akidb.cli.main import main


class Result(NamedTuple):
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The JSON value on standard output."""
        assert self.status == 0, self.err
        return self._only(self.out)

    @property
    def problem(self) -> dict[str, Any]:
        """The JSON object on standard error; standard output must be empty."""
        assert self.status != 0
        assert self.out == ""
        problem: dict[str, Any] = self._only(self.err)
        return problem

    @staticmethod
    def _only(text: str) -> Any:
        assert text.endswith("\n")
        assert text.count("\n") == 1
        return msgspec.json.decode(text)


Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Isolate tests from the developer's settings and directories."""
    import os

    for name in list(os.environ):
        if name.startswith("AKIDB_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def akidb(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run `akidb` with these arguments."""

    def run(*arguments: str | Path) -> Result:
        capfd.readouterr()
        status = main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        assert "Traceback" not in err
        return Result(status, out, err)

    return run


@pytest.fixture
def notes(akidb: Run) -> str:
    """The path of a text collection with hash embeddings."""
    assert akidb("tenant", "create", "Aki Labs").status == 0
    assert akidb("database", "create", "aki-labs", "kb").status == 0
    assert akidb("collection", "create", "aki-labs/kb", "notes", "--embedding-model", "hash").status == 0
    return "aki-labs/kb/notes"


@pytest.fixture
def points(akidb: Run) -> str:
    """The path of a collection of 16-dimensional vectors."""
    assert akidb("tenant", "create", "Aki Labs").status == 0
    assert akidb("database", "create", "aki-labs", "kb").status == 0
    assert akidb("collection", "create", "aki-labs/kb", "points", "--dimension", "16").status == 0
    return "aki-labs/kb/points"
