"""A migration killed at any moment and rerun gives the same result as an uninterrupted one."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from akidb.deployment.local import open_local
from akidb.operations.migration import MigrateV1ToV2, MigrateV2ToV1
from akidb.operations.tenants import ListTenants
from akidb.operations.upkeep import CheckStores
from akidb.settings import load
from children import child, exit_code

COUNT = 1_500
State = list[tuple[Any, ...]]


@pytest.fixture
def v1(tmp_path: Path) -> Path:
    directory = tmp_path / "v1"
    directory.mkdir()
    for number in range(COUNT):
        manifest = {
            "tenant_id": f"tenant_{number:032x}",
            "name": f"Tenant {number % 400}",
            "status": ("active", "suspended", "deleted")[number % 3],
            "created_at": "2025-03-01T10:00:00Z",
            "updated_at": "2025-03-02T11:00:00+09:00",
        }
        (directory / f"{number}.json").write_text(json.dumps(manifest))
    return directory


def migrate(v1: Path, data: Path, die_at: tuple[str, int] | None = None) -> None:
    """Migrate; `die_at` names a stage and how many of it are done when the process kills itself."""

    def progress(stage: str, done: int, _total: int) -> None:
        if die_at is not None and (stage, done) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    operations = open_local(data, load())
    operations.perform(MigrateV1ToV2(v1_data_dir=v1), progress=progress)
    operations.close()


def go_back(data: Path, out: Path, die_at: int | None = None) -> None:
    """Go back; the process kills itself when so many are written."""

    def progress(_stage: str, done: int, _total: int) -> None:
        if done == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    operations = open_local(data, load())
    operations.perform(MigrateV2ToV1(out=out), progress=progress)
    operations.close()


def state(data: Path) -> State:
    """All tenants, deleted ones too, with what does not tell one run from another."""
    operations = open_local(data, load())
    try:
        found: State = []
        for deleted in (False, True):
            cursor = None
            while True:
                page = operations.perform(ListTenants(deleted=deleted, limit=1000, cursor=cursor))
                found += [
                    (t.tenant_id, t.name, t.slug, t.status, t.version, t.created_at) for t in page.items
                ]
                if (cursor := page.next_cursor) is None:
                    break
        assert all(finding.ok for finding in operations.perform(CheckStores()).items)
        return found
    finally:
        operations.close()


def count(data: Path) -> int:
    return len(state(data)) if (data / "metadata.db").exists() else 0


@pytest.fixture
def expected(v1: Path, tmp_path: Path) -> State:
    """Where it ends when nothing comes in between."""
    migrate(v1, tmp_path / "whole")
    return state(tmp_path / "whole")


@pytest.mark.parametrize(
    "die_at",
    [("check", 500), ("check", COUNT), ("write", 500), ("write", COUNT), ("verify", 1), ("verify", COUNT)],
    ids=lambda at: f"{at[0]}-{at[1]}",
)
def test_migration_killed_at_given_point_is_completed_by_rerun(
    v1: Path, tmp_path: Path, expected: State, die_at: tuple[str, int]
) -> None:
    data = tmp_path / "data"
    assert exit_code(migrate, v1, data, die_at) == -signal.SIGKILL
    assert count(data) == 0
    migrate(v1, data)
    assert state(data) == expected


@pytest.mark.slow
def test_migration_killed_at_random_moment_is_completed_by_rerun(
    v1: Path, tmp_path: Path, expected: State
) -> None:
    started = time.monotonic()
    assert exit_code(migrate, v1, tmp_path / "timed") == 0
    taken = time.monotonic() - started
    seen = set()
    for tenth in range(1, 11):
        data = tmp_path / f"data-{tenth}"
        with child(migrate, v1, data) as process:
            time.sleep(taken * tenth / 10)
            process.kill()
            process.join()
        found = count(data)
        assert found in {0, COUNT}  # all or nothing
        seen.add(found)
        migrate(v1, data)
        assert state(data) == expected
    assert 0 in seen


@pytest.mark.parametrize("die_at", [1, 700, COUNT])
def test_rollback_killed_at_given_point_is_completed_by_rerun(v1: Path, tmp_path: Path, die_at: int) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    migrate(v1, data)
    assert exit_code(go_back, data, out, die_at) == -signal.SIGKILL
    assert not list(out.glob("*.json"))
    go_back(data, out)
    assert read(out) == read(v1)
    assert {path.name for path in out.iterdir()} == {path.name for path in v1.iterdir()}


@pytest.mark.slow
def test_rollback_killed_at_random_moment_is_completed_by_rerun(v1: Path, tmp_path: Path) -> None:
    data, expected = tmp_path / "data", read(v1)
    migrate(v1, data)
    started = time.monotonic()
    assert exit_code(go_back, data, tmp_path / "timed") == 0
    taken = time.monotonic() - started
    for tenth in range(4, 11):
        out = tmp_path / f"out-{tenth}"
        with child(go_back, data, out) as process:
            time.sleep(taken * tenth / 10)
            process.kill()
            process.join()
        for name, content in read(out).items():  # what has its name is whole
            assert content == expected[name]
        go_back(data, out)
        assert read(out) == expected


def read(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.glob("*.json")}


def test_interrupted_migration_writes_nothing(v1: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"

    def interrupt(stage: str) -> Callable[[str, int, int], None]:
        def progress(at: str, _done: int, _total: int) -> None:
            if at == stage:
                raise KeyboardInterrupt

        return progress

    operations = open_local(data, load())
    for stage in ("check", "write", "verify"):
        with pytest.raises(KeyboardInterrupt):
            operations.perform(MigrateV1ToV2(v1_data_dir=v1), progress=interrupt(stage))
        assert operations.perform(ListTenants(limit=1)).items == []
    operations.close()
    migrate(v1, data)
    assert count(data) == COUNT
