"""`akidb migrate v1-to-v2` and `v2-to-v1`."""

import fcntl
import hashlib
import json
import os
import pty
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from akidb.deployment.local import open_local
from akidb.operations.tenants import CreateTenant
from akidb.settings import load

from .conftest import Run

SAMPLES = Path(__file__).parents[1] / "data/v1-manifests"
FIRST = "018f3346-97a7-7f2a-9944-c9c3269e0d37"


@pytest.fixture
def v1(tmp_path: Path) -> Path:
    """A copy of the samples."""
    return Path(shutil.copytree(SAMPLES, tmp_path / "v1"))


@pytest.fixture
def migrate(akidb: Run, v1: Path) -> Run:
    """Run `akidb migrate v1-to-v2` on the copy."""
    return lambda *options: akidb("migrate", "v1-to-v2", "--v1-data-dir", v1, *options)


def change(v1: Path, **fields: Any) -> None:
    path = v1 / "Manifest-000.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


def files(directory: Path) -> dict[str, str]:
    """The hash of every file below a directory."""
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_text_report(migrate: Run) -> None:
    result = migrate()
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith("36 manifests in ")
    assert "36 created\nread back and compared: 36 tenants, 36 databases, 36 manifests\n" in result.out
    for said in ("notes.json", "x_unknown", "polar-maps-8e8f929d"):
        assert said in result.out
    again = migrate()
    assert again.status == 0
    assert ": 36 unchanged\n" in again.out


@pytest.mark.parametrize(("slug", "shown"), [("Not_A_Slug!", "Not_A_Slug!"), ("", '""'), (None, "-")])
def test_invalid_slug_is_reported_verbatim(migrate: Run, v1: Path, slug: str | None, shown: str) -> None:
    change(v1, slug=slug)
    report = migrate("--dry-run", "--json").json
    assert (report["tenants"][0]["given_slug"], report["tenants"][0]["slug"]) == (slug, "angstrom-ab")
    (row,) = (
        line.split()
        for line in migrate().out.partition("Generated slugs")[2].splitlines()
        if line.startswith("Manifest-000.json")
    )
    assert row == ["Manifest-000.json", shown, "angstrom-ab"]


def test_json_report(migrate: Run, akidb: Run, tmp_path: Path) -> None:
    report = migrate("--json", "--report", "report.json").json
    assert msgspec.json.decode((tmp_path / "report.json").read_bytes()) == report
    assert stat.S_IMODE((tmp_path / "report.json").stat().st_mode) == 0o600
    assert report["counts"]["created"] == 36
    assert report["verification"] == {"tenants": 36, "databases": 36, "manifests": 36}
    assert report["skipped"] == [{"path": "notes.json", "reason": "has no tenant_id: not a manifest"}]
    first = report["tenants"][0]
    assert (first["tenant_id"], first["path"], first["slug"]) == (FIRST, "Manifest-000.json", "angstrom-ab")
    assert len(first["content_hash"]) == 64
    tenant = akidb("tenant", "get", "angstrom-ab", "--json").json
    assert (tenant["tenant_id"], tenant["name"]) == (FIRST, "Ångström AB")
    assert "api_key_hash" not in json.dumps(report)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["akidb-data", "report.json", "v1"]


def test_dry_run_creates_nothing(migrate: Run, tmp_path: Path) -> None:
    report = migrate("--dry-run", "--json").json
    assert report["dry_run"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v1"]
    done = migrate("--json").json
    differing = {"dry_run", "verification"}
    assert {k: v for k, v in report.items() if k not in differing} == {
        k: v for k, v in done.items() if k not in differing
    }


@pytest.mark.parametrize("log", ["folded", "left"])
def test_dry_run_leaves_files_byte_identical(migrate: Run, v1: Path, tmp_path: Path, log: str) -> None:
    data = tmp_path / "akidb-data"
    assert migrate().status == 0
    if log == "left":  # as after a kill: what was committed last is in the log alone
        operations = open_local(data, load())
        operations.perform(CreateTenant(name="Late", slug="late"))
        shutil.copytree(data, tmp_path / "killed")
        operations.close()
        shutil.rmtree(data)
        (tmp_path / "killed").rename(data)
        assert (data / "metadata.db-wal").stat().st_size > 0
    before = files(data)
    (v1 / "new.json").write_text(
        (v1 / "Manifest-000.json")
        .read_text()
        .replace("4697a7", "000000")
        .replace('"name"', '"slug": "late", "name"')
    )
    report = migrate("--dry-run", "--json").json
    assert (report["counts"]["created"], report["counts"]["unchanged"]) == (1, 36)
    (new,) = (each for each in report["tenants"] if each["path"] == "new.json")
    assert (new["slug"] == "late") == (log == "folded")
    assert files(data) == before


def test_dry_run_on_directory_in_use_is_unavailable(migrate: Run, tmp_path: Path) -> None:
    assert migrate().status == 0
    lock = os.open(tmp_path / "akidb-data/owner.lock", os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = migrate("--dry-run", "--wait", "0")
    finally:
        os.close(lock)
    assert (result.status, "is in use" in result.err) == (1, True)


def test_all_faults_are_reported_together_and_nothing_is_created(
    migrate: Run, v1: Path, tmp_path: Path
) -> None:
    change(v1, quotas={"max_storage_bytes": -1})
    (v1 / "region-eu/bad.JSON").write_text("{")
    for options in ((), ("--dry-run",)):
        result = migrate(*options, "--report", "report.json")
        assert result.status == 2
        assert result.err.startswith("error: invalid_argument: v1_data_dir: 2 files are faulty, ")
        assert result.err.count("\n") == 1
        for said in ("Manifest-000.json", "quotas.max_storage_bytes", "region-eu/bad.JSON", "malformed JSON"):
            assert said in result.out
        report = msgspec.json.decode((tmp_path / "report.json").read_bytes())
        assert [fault["path"] for fault in report["faults"]] == ["Manifest-000.json", "region-eu/bad.JSON"]
    result = migrate("--json")
    assert json.loads(result.err)["field"] == "v1_data_dir"
    assert json.loads(result.out)["counts"]["faulty"] == 2
    assert not (tmp_path / "akidb-data").exists()


def test_changed_manifest_is_conflict_unless_overwritten(migrate: Run, akidb: Run, v1: Path) -> None:
    assert migrate().status == 0
    change(v1, name="Changed")
    for options in ((), ("--dry-run",)):
        result = migrate(*options)
        assert result.status == 4
        assert result.err.startswith("error: already_exists: 1 manifest conflicts")
        assert "Manifest-000.json" in result.out
        assert "the manifest has changed since it was migrated" in result.out
    assert akidb("tenant", "get", FIRST, "--json").json["name"] == "Ångström AB"
    assert migrate("--overwrite", "--dry-run").status == 0
    assert akidb("tenant", "get", FIRST, "--json").json["version"] == 1
    assert migrate("--overwrite", "--json").json["counts"]["overwritten"] == 1
    tenant = akidb("tenant", "get", FIRST, "--json").json
    assert (tenant["name"], tenant["version"], tenant["slug"]) == ("Changed", 2, "changed")


def test_purged_tenant_is_not_migrated_again(migrate: Run, akidb: Run) -> None:
    assert migrate().status == 0
    assert akidb("tenant", "delete", FIRST).status == 0
    assert akidb("tenant", "purge", FIRST, "--yes").status == 0
    result = migrate()
    assert (result.status, "1 purged earlier and skipped" in result.out) == (0, True)
    assert akidb("tenant", "get", FIRST).status == 3


def test_round_trip(migrate: Run, akidb: Run, v1: Path, tmp_path: Path) -> None:
    assert migrate().status == 0
    assert akidb("tenant", "create", "Born in 2.0").status == 0
    assert akidb("database", "create", "born-in-2-0", "kb").status == 0
    result = akidb("migrate", "v2-to-v1", "--out", "back")
    assert result.status == 0
    assert "36 identical to 1.x, 0 changed since, 1 of tenants created in 2.0" in result.out
    assert "kb" in result.out
    (v1 / "notes.json").unlink()
    (v1 / "README.txt").unlink()
    assert files(v1) == {
        name: hash for name, hash in files(tmp_path / "back").items() if name != "born-in-2-0.json"
    }
    again = akidb("migrate", "v2-to-v1", "--out", "back", "--json", "--report", "back.json").json
    assert (again["unchanged"], again["changed"], again["new"]) == (36, 0, 1)
    (tmp_path / "back/Manifest-000.json").write_text("{}")
    refused = akidb("migrate", "v2-to-v1", "--out", "back")
    assert (refused.status, refused.err.startswith("error: invalid_argument: out: is not empty")) == (2, True)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (("v1-to-v2",), "v1_data_dir"),
        (("v1-to-v2", "--v1-data-dir", "nowhere"), "v1_data_dir"),
        (("v1-to-v2", "--v1-data-dir", "v1", "--report", "nowhere/report.json"), "report"),
        (("v1-to-v2", "--v1-data-dir", "v1", "--url", "http://127.0.0.1:9"), "url"),
        (("v2-to-v1", "--out", "back", "--url", "http://127.0.0.1:9"), "url"),
    ],
)
def test_invalid_options_are_rejected(
    akidb: Run, v1: Path, tmp_path: Path, options: tuple[str, ...], field: str
) -> None:
    problem = akidb("migrate", *options, "--json")
    assert problem.status == 2
    assert problem.problem["field"] == field
    assert list(tmp_path.iterdir()) == [v1]


def test_v2_to_v1_requires_existing_store(akidb: Run, tmp_path: Path) -> None:
    assert akidb("migrate", "v2-to-v1", "--out", "back").status == 3
    assert list(tmp_path.iterdir()) == []


def test_progress_is_shown_on_terminal(v1: Path, tmp_path: Path) -> None:
    terminal, inner = pty.openpty()
    command = [sys.executable, "-m", "akidb", "migrate", "v1-to-v2", "--v1-data-dir", str(v1), "--json"]
    try:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=inner)
        os.close(inner)
        shown = b""
        while True:
            try:
                part = os.read(terminal, 65536)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            shown += part
        out, _ = process.communicate(timeout=60)
    finally:
        os.close(terminal)
    assert process.returncode == 0
    assert json.loads(out)["counts"]["created"] == 36
    assert b"migrate: check" in shown
    assert b"36/36" in shown


def test_migration_guide_commands_run(akidb: Run, v1: Path, tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs/migration.md").read_text()
    commands = [line.split()[1:] for line in guide.splitlines() if line.startswith("akidb ")]
    assert len(commands) == 3
    for command in commands:
        assert akidb(*command).status == 0, command
    assert (tmp_path / "report.json").exists()
    assert (tmp_path / "back/Manifest-000.json").read_bytes() == (v1 / "Manifest-000.json").read_bytes()
    (program,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    (tmp_path / "back").rename(tmp_path / "before")
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "0 ['notes.json']\n"
    assert files(tmp_path / "back") == files(tmp_path / "before")
