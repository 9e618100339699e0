"""`akidb backup`, `restore`, and `akidb tenant export`, `import`, `copy`."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Run


@pytest.fixture
def three(akidb: Run, points: str) -> str:
    lines = "".join(f'{{"id":"{n}","vector":[{",".join(["1"] * 15)},{n}]}}\n' for n in range(3))
    Path("three.jsonl").write_text(lines)
    assert akidb("document", "import", points, "three.jsonl").status == 0
    return points


def test_backup_is_restored(akidb: Run, three: str) -> None:
    said = akidb("backup", "all.akidb", "--json").json
    assert said["file"] == "all.akidb"
    assert said["bytes"] == Path("all.akidb").stat().st_size
    assert Path("all.akidb").stat().st_mode & 0o777 == 0o600
    done = akidb("--data", "new", "restore", "all.akidb", "--json").json
    assert done["restored"]["documents"] == 3
    assert akidb("--data", "new", "document", "count", three, "--json").json == {"count": 3}
    assert "restored 1 tenant" in akidb("--data", "newer", "restore", "all.akidb").out


def test_existing_file_is_not_replaced_without_force(akidb: Run, three: str) -> None:
    Path("kept").write_text("letter")
    for command in (["backup"], ["tenant", "export", "aki-labs"]):
        refused = akidb(*command, "kept", "--json")
        assert (refused.status, refused.problem["code"]) == (4, "already_exists")
        assert refused.problem["detail"].endswith("already exists; --force overwrites it")
        assert Path("kept").read_text() == "letter"
    assert akidb("backup", "kept", "--force").status == 0
    assert Path("kept").read_bytes().startswith(b"AkiDB archive 1\n")
    assert [path.name for path in Path().glob(".*.part")] == []


@pytest.mark.parametrize("options", [(), ("--force",)])
def test_non_regular_file_is_never_replaced(
    akidb: Run, three: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    os.mkfifo("pipe")
    Path("kept").write_text("letter")
    Path("link").symlink_to("kept")
    Path("dangling").symlink_to("nowhere")
    Path("folder").mkdir()
    before = {path.name: path.lstat().st_mode for path in tmp_path.iterdir()}
    for name in ("pipe", "link", "dangling", "folder"):
        for command in (["backup"], ["tenant", "export", "aki-labs"]):
            refused = akidb(*command, name, *options, "--json")
            assert (refused.status, refused.problem["field"]) == (2, "file")
            assert refused.problem["reason"] == f"{name} is not a regular file and is never replaced"
    assert {path.name: path.lstat().st_mode for path in tmp_path.iterdir()} == before
    assert Path("kept").read_text() == "letter"


def test_restore_into_non_empty_directory_is_conflict(akidb: Run, three: str) -> None:
    assert akidb("backup", "all.akidb").status == 0
    refused = akidb("restore", "all.akidb", "--json")
    assert (refused.status, refused.problem["code"]) == (4, "already_exists")
    assert "not empty" in refused.problem["detail"]
    assert akidb("document", "count", three, "--json").json == {"count": 3}


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_non_archive_is_invalid_argument(content: bytes | None, akidb: Run) -> None:
    if content is not None:
        Path("wrong").write_bytes(content)
    for command in (["restore", "wrong"], ["tenant", "import", "wrong"]):
        refused = akidb("--data", "new", *command, "--json")
        assert refused.status == 2
        assert refused.problem["field"] == ("file" if content is None else "archive")
        assert not Path("new/tenants").exists() or command[0] == "tenant"


def test_restore_through_server_url_is_rejected(akidb: Run) -> None:
    Path("any").write_bytes(b"x")
    assert akidb("--url", "http://localhost:1", "restore", "any", "--json").problem["field"] == "url"


def test_unwritable_directory_is_named(akidb: Run, three: str) -> None:
    refused = akidb("backup", "no/such/place", "--json")
    assert (refused.status, refused.problem["field"]) == (2, "file")


def test_tenant_export_import_and_conflicts(akidb: Run, three: str) -> None:
    assert akidb("tenant", "export", "aki-labs", "aki").status == 0
    refused = akidb("--data", "new", "tenant", "import", "aki", "--as", "Not a slug", "--json")
    assert (refused.status, refused.problem["field"]) == (2, "as")
    trial = akidb("--data", "new", "tenant", "import", "aki", "--dry-run")
    assert (trial.status, trial.out) == (
        0,
        "would import aki-labs with 1 database, 1 collection and 3 documents\n",
    )
    assert akidb("--data", "new", "tenant", "list", "--json").json["items"] == []
    report = akidb("--data", "new", "tenant", "import", "aki", "--as", "other", "--json").json
    assert (report["tenant"]["slug"], report["documents"], report["dry_run"]) == ("other", 3, False)
    again = akidb("--data", "new", "tenant", "import", "aki", "--dry-run")
    tenant_id = report["tenant"]["tenant_id"]
    assert again.status == 4
    assert again.err.startswith("error: already_exists: the import would be refused for 3 conflicts; ")
    assert again.err.endswith(f"; tenant_id {tenant_id} is taken\n")
    assert [line.split()[0] for line in again.out.splitlines()] == [
        "field",
        "tenant_id",
        "database_id",
        "collection_id",
    ]
    listed = akidb("--data", "new", "tenant", "import", "aki", "--dry-run", "--json")
    assert (listed.status, len(json.loads(listed.out)["conflicts"])) == (4, 3)
    assert json.loads(listed.err)["value"] == tenant_id
    refused = akidb("--data", "new", "tenant", "import", "aki", "--json")
    assert (refused.status, refused.problem["field"]) == (4, "tenant_id")


@pytest.mark.slow
def test_archive_is_streamed_through_pipe(akidb: Run, three: str) -> None:
    program = [sys.executable, "-m", "akidb"]
    export = subprocess.run([*program, "tenant", "export", "aki-labs", "-"], capture_output=True, check=True)
    taken = subprocess.run(
        [*program, "--data", "piped", "tenant", "import", "-"],
        input=export.stdout,
        capture_output=True,
        check=True,
    )
    assert taken.stdout == b"imported aki-labs with 1 database, 1 collection and 3 documents\n"
    backup = subprocess.run([*program, "backup", "-"], capture_output=True, check=True)
    subprocess.run([*program, "--data", "whole", "restore", "-"], input=backup.stdout, check=True)
    assert akidb("--data", "whole", "document", "count", three, "--json").json == {"count": 3}


def test_copy_creates_separate_tenant(akidb: Run, three: str) -> None:
    made = akidb("tenant", "copy", "aki-labs", "branch", "--name", "Branch", "--json").json
    assert (made["slug"], made["name"]) == ("branch", "Branch")
    assert akidb("document", "count", three.replace("aki-labs", "branch"), "--json").json == {"count": 3}
    assert akidb("tenant", "copy", "aki-labs", "branch").status == 4


def test_documented_commands_run(akidb: Run) -> None:
    page = (Path(__file__).parents[2] / "docs" / "backup.md").read_text()
    commands = [
        line for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) for line in block.splitlines()
    ]
    assert len(commands) == 7
    for command in commands:
        assert akidb(*shlex.split(command)[1:]).status == 0, command
    assert akidb("--data", "restored", "tenant", "get", "aki-labs").status == 0
    assert akidb("--data", "elsewhere", "tenant", "get", "aki").status == 0


def test_backup_is_restored_into_postgresql(akidb: Run, three: str, postgres_url: str) -> None:
    assert akidb("backup", "all.akidb").status == 0
    assert akidb("--url", postgres_url, "restore", "all.akidb", "--json").json["restored"]["documents"] == 3
    assert akidb("--url", postgres_url, "document", "count", three, "--json").json == {"count": 3}
    refused = akidb("--url", postgres_url, "restore", "all.akidb", "--json")
    assert (refused.status, refused.problem["code"]) == (4, "already_exists")
