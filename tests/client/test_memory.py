"""`akidb.connect(":memory:")`: a store of its own that vanishes when it is closed."""

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

import akidb
import akidb.aio

VECTOR = [1.0] * 16


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary directory, empty."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_store_in_memory_works_and_vanishes(temporary: Path) -> None:
    with akidb.connect(":memory:") as db, akidb.connect(":memory:") as other:
        notes = db.tenants.create("Aki").databases.create("kb").collections.create("notes", dimension=16)
        notes.upsert([{"id": "a", "vector": VECTOR}])
        assert notes.search(VECTOR)[0].id == "a"
        assert all(finding.ok for finding in db.doctor())
        assert other.tenants.count() == 0
        assert len(list(temporary.iterdir())) == 2
    assert list(temporary.iterdir()) == []
    with pytest.raises(akidb.Unavailable):
        notes.count()


def test_setting_and_awaitable_connection_take_it(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> int:
        async with akidb.aio.connect(":memory:") as db:
            await db.tenants.create("Aki")
            return await db.tenants.count()

    assert asyncio.run(main()) == 1
    monkeypatch.setenv("AKIDB_URL", ":memory:")
    with akidb.connect() as db:
        assert db.tenants.count() == 0
    assert list(temporary.iterdir()) == []


def test_store_that_is_not_closed_vanishes_with_its_process(temporary: Path) -> None:
    code = "import akidb; db = akidb.connect(':memory:'); db.tenants.create('Aki')"
    subprocess.run([sys.executable, "-c", code], check=True, env={"TMPDIR": str(temporary), "PATH": ""})
    assert list(temporary.iterdir()) == []


HELD = "import akidb; db = akidb.connect(':memory:'); db.tenants.create('Aki'); print(flush=True); input()"


def test_store_of_a_killed_process_is_removed_by_the_next(temporary: Path) -> None:
    notes = temporary / "akidb-memory-notes"
    notes.mkdir()
    (notes / "mine.txt").write_text("not of AkiDB")
    start = [sys.executable, "-c", HELD]
    place = {"TMPDIR": str(temporary), "PATH": ""}
    processes = [
        subprocess.Popen(start, env=place, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)
    ]
    killed, alive = processes
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline()
        killed.terminate()
        killed.wait(60)
        assert len(list(temporary.iterdir())) == 3
        with akidb.connect(":memory:"), akidb.connect(":memory:"):
            assert len(list(temporary.iterdir())) == 4
        assert len(list(temporary.iterdir())) == 2
        alive.communicate(b"\n", 60)
        assert alive.returncode == 0
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert [path.name for path in notes.iterdir()] == ["mine.txt"]
    assert list(temporary.iterdir()) == [notes]


def test_forked_child_leaves_the_store_to_its_parent(temporary: Path) -> None:
    code = """
import os, akidb
db = akidb.connect(":memory:")
child = os.fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
    db.tenants.create("Aki")
else:
    db.close()
"""
    place = {"TMPDIR": str(temporary), "PATH": ""}
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, env=place)
    assert list(temporary.iterdir()) == []
