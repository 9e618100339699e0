"""A load that is killed at any moment and repeated leaves exactly the rows of the file."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import akidb
from bulk_files import contents, write_lines

ROWS, DIMENSION = 400, 16
LOAD = """
import sys
import akidb
place, file, mode = sys.argv[1:]
with akidb.connect(place) as db:
    points = db.tenants.get("aki").databases.get("kb").collections.get("points")
    print("begun", flush=True)
    told = lambda _: print(".", end="", flush=True)
    done = points.load(file, mode=mode, batch_size=5, resume=True, progress=told)
    print(" done", done.documents, done.upserted, flush=True)
"""


def load(place: Path, file: Path, mode: str, kill_after: int | None) -> str:
    """Load in another process, which is killed when it has told of so many batches."""
    command = [sys.executable, "-c", LOAD, str(place), str(file), mode]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=file.parent) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"begun\n"
        if kill_after is not None:
            process.stdout.read(kill_after)
            os.kill(process.pid, signal.SIGKILL)
        return process.stdout.read().decode()


def prepared(tmp_path: Path, suffix: str) -> tuple[Path, list[object]]:
    """Return a file, and what a collection has after it was loaded."""
    vectors = np.random.default_rng(5).standard_normal((ROWS, DIMENSION)).astype(np.float32).tolist()
    rows = [
        {"id": f"d{n:03}", "text": f"text {n}", "vector": vectors[n], "metadata": {"n": n}}
        for n in range(ROWS)
    ]
    lines = write_lines(tmp_path / "x.jsonl", rows)
    with akidb.connect(tmp_path / "data") as db:
        database = db.tenants.create("Aki", qps_quota=None).databases.create("kb")
        points = database.collections.create("points", dimension=DIMENSION)
        points.load(lines)
        file = tmp_path / f"y.{suffix}"
        points.export(file)
        wanted: list[object] = list(contents(points))
        points.clear()
    return file, wanted


def killed_until_done(tmp_path: Path, suffix: str, mode: str, kills: list[int]) -> None:
    file, wanted = prepared(tmp_path, suffix)
    for kill_after in kills:
        load(tmp_path / "data", file, mode, kill_after)
    assert load(tmp_path / "data", file, mode, None).endswith(f" done {ROWS} {ROWS}\n")
    assert not list(tmp_path.glob("*.akidb-load"))
    with akidb.connect(tmp_path / "data") as db:
        points = db.tenants.get("aki").databases.get("kb").collections.get("points")
        assert list(contents(points)) == wanted
        assert all(finding.ok for finding in db.doctor())


def test_killed_load_is_resumed_without_duplicates(tmp_path: Path) -> None:
    killed_until_done(tmp_path, "parquet", "insert", [7])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("suffix", "mode"),
    [("jsonl", "insert"), ("parquet", "upsert"), ("arrow", "insert"), ("arrows", "upsert")],
)
def test_load_killed_at_many_moments(tmp_path: Path, suffix: str, mode: str) -> None:
    chance = random.Random(f"{suffix} {mode}")
    killed_until_done(tmp_path, suffix, mode, [chance.randint(0, 12) for _ in range(8)])
