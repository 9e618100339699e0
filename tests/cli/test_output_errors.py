"""A command whose output cannot be written names the output."""

import os
import sys
from pathlib import Path

import pytest

from akidb.cli.main import main

from .conftest import Run

NAMED = "standard output cannot be written: No space left on device"


@pytest.mark.parametrize(
    "command",
    [
        ("tenant", "export", "aki-labs", "-"),
        ("backup", "-"),
        ("tenant", "list"),
        ("tenant", "list", "--json"),
        ("tenant", "get", "aki-labs"),
        ("changes", "aki-labs"),
        ("document", "export", "aki-labs/kb/points"),
        ("document", "count", "aki-labs/kb/points"),
    ],
    ids=" ".join,
)
def test_full_standard_output_is_named(
    points: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    Path("one.jsonl").write_text(f'{{"id":"a","vector":[{",".join(["1"] * 16)}]}}\n')
    assert main(["document", "import", points, "one.jsonl"]) == 0
    capfd.readouterr()
    with open("/dev/full", "w") as full:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", full)
        status = main(list(command))
        monkeypatch.undo()
    assert status == 1
    assert NAMED in capfd.readouterr().err


@pytest.mark.parametrize("command", [("tenant", "export", "aki-labs", "-"), ("backup", "-")])
def test_closed_pipe_ends_archive_with_error(
    points: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        status = main(list(command))
        monkeypatch.undo()
    assert status == 1
    assert "standard output cannot be written: Broken pipe" in capfd.readouterr().err


def test_force_is_refused_for_standard_output(akidb: Run, points: str) -> None:
    refused = akidb("backup", "-", "--force", "--json")
    assert (refused.status, refused.problem["field"]) == (2, "force")


def test_report_that_cannot_be_written_is_named(akidb: Run, tmp_path: Path) -> None:
    """The report takes the place of a directory: it cannot be moved there."""
    Path("v1").mkdir()
    Path("report.json").mkdir()
    refused = akidb("migrate", "v1-to-v2", "--v1-data-dir", "v1", "--report", "report.json")
    assert refused.status == 1
    assert "report.json cannot be written: Is a directory" in refused.err
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []
