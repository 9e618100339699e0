"""`akidb changes`, and filters and sorting of `akidb tenant list`."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import Run


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_metadata_and_documents_as_json_lines(akidb: Run, tmp_path: Path) -> None:
    akidb("tenant", "create", "Aki Labs")
    akidb("database", "create", "aki-labs", "kb")
    akidb("collection", "create", "aki-labs/kb", "notes", "--dimension", "16")
    found = lines(akidb("changes", "aki-labs").out)
    assert [line.get("entity") for line in found] == ["tenant", "database", "collection", None]
    assert found[-1]["next_since"] == 3
    file = tmp_path / "notes.jsonl"
    file.write_text("".join(json.dumps({"id": id, "vector": [1.0] * 16}) + "\n" for id in "abc"))
    assert akidb("document", "import", "aki-labs/kb/notes", str(file)).status == 0
    assert akidb("document", "delete", "aki-labs/kb/notes", "b").status == 0
    found = lines(akidb("changes", "aki-labs/kb/notes", "--limit", "2").out)
    assert [line.get("id") for line in found] == ["a", "c", None, "b", None]
    place = found[2]
    rest = akidb("changes", "aki-labs/kb/notes", "--since", str(place["next_since"]), "--feed", place["feed"])
    assert lines(rest.out) == found[3:]
    with_vectors = lines(akidb("changes", "aki-labs/kb/notes", "--vectors").out)
    assert with_vectors[0]["vector"] == [1.0] * 16


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (("nobody",), 3, "not_found"),
        (("aki-labs/kb",), 2, "invalid_argument"),
        (("aki-labs", "--since", "99"), 4, "precondition_failed"),
        (("aki-labs", "--feed", "x"), 2, "invalid_argument"),
    ],
)
def test_errors_have_exit_status_and_code(
    akidb: Run, arguments: tuple[str, ...], status: int, code: str
) -> None:
    akidb("tenant", "create", "Aki Labs")
    failed = akidb("--json", "changes", *arguments)
    assert failed.status == status
    assert failed.problem["code"] == code


@pytest.mark.slow
def test_follow_prints_changes_as_they_arrive(tmp_path: Path) -> None:
    data = tmp_path / "data"
    akidb = [sys.executable, "-m", "akidb", "--data", str(data)]
    subprocess.run([*akidb, "tenant", "create", "Aki Labs"], check=True, capture_output=True)
    serving = subprocess.Popen(
        [*akidb, "serve", "--port", "0"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    follower = None
    try:
        assert serving.stderr is not None
        assert serving.stderr.readline().startswith("serving")
        follower = subprocess.Popen(
            [*akidb, "changes", "aki-labs", "--follow"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert follower.stdout is not None
        assert json.loads(follower.stdout.readline())["entity"] == "tenant"
        assert json.loads(follower.stdout.readline())["next_since"] == 1
        subprocess.run([*akidb, "database", "create", "aki-labs", "kb"], check=True, capture_output=True)
        assert json.loads(follower.stdout.readline())["entity"] == "database"
        assert json.loads(follower.stdout.readline())["next_since"] == 2
        follower.send_signal(signal.SIGINT)
        _, errors = follower.communicate(timeout=30)
        assert "Traceback" not in errors
    finally:
        for process in (follower, serving):
            if process is not None:
                process.kill()
                process.communicate()


def test_tenant_list_filters_by_name_and_sorts(akidb: Run) -> None:
    for name in ("Alpha Corp", "beta CORP", "Gamma"):
        akidb("tenant", "create", name)
    found = akidb("--json", "tenant", "list", "--name-contains", "corp", "--sort", "-name").json
    assert [tenant["name"] for tenant in found["items"]] == ["beta CORP", "Alpha Corp"]
    page = akidb("--json", "tenant", "list", "--sort=-slug", "--limit", "2").json
    rest = akidb("--json", "tenant", "list", "--sort=-slug", "--cursor", page["next_cursor"]).json
    assert [tenant["slug"] for tenant in page["items"] + rest["items"]] == [
        "gamma",
        "beta-corp",
        "alpha-corp",
    ]
    wrong = akidb("--json", "tenant", "list", "--sort", "age")
    assert wrong.status == 2
    assert "sort" in wrong.err
