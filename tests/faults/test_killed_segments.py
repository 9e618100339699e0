"""A process that is killed while it writes, seals and merges loses nothing that it acknowledged."""

import logging
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import akidb
from akidb.client.handles.documents import CollectionHandle

DIMENSION, SEAL_FROM = 8, 300
WRITE = """
import sys
from functools import partial
import numpy as np
import akidb
from akidb.deployment import composition
from akidb.search.index import LocalIndex

composition.LocalIndex = partial(LocalIndex, seal_from={seal_from})  # so that there are many segments
with akidb.connect(sys.argv[1]) as db:
    points = db.tenants.get("aki").databases.get("kb").collections.get("points")
    batch, random = int(sys.argv[2]), np.random.default_rng(int(sys.argv[2]))
    while True:
        ids = [f"d{{batch * 60 + n}}" for n in range(60)]
        points.upsert(ids=ids, vectors=random.standard_normal((60, {dimension})).astype(np.float32))
        gone = f"d{{random.integers(batch * 60)}}" if batch else "none"
        points.delete([gone])
        points.search([1.0] * {dimension}, top_k=3)
        print(batch, gone, flush=True)
        batch += 1
"""


def collection(db: akidb.Client) -> CollectionHandle:
    return db.tenants.get("aki").databases.get("kb").collections.get("points")


def write_and_kill(place: Path, batch: int, seconds: float, gone: set[str]) -> int:
    """Write batches from this one on for a while; return the number of the next one."""
    code = WRITE.format(seal_from=SEAL_FROM, dimension=DIMENSION)
    command = [sys.executable, "-c", code, str(place), str(batch)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        lines = process.stdout.readlines()
    done = batch + 1
    for line in lines:
        if line.endswith("\n"):
            number, id = line.split()
            done = int(number) + 1
            gone.add(id)
    return done


def require_whole(place: Path, batches: int, gone: set[str]) -> int:
    """Everything acknowledged is there and found; return the number of segments."""
    with akidb.connect(place) as db:
        points = collection(db)
        stored = {each.id: each for each in points.scan_all(include=["vector"])}
        acknowledged = {f"d{n}" for n in range(batches * 60)}
        # The last batch and deletion may have been written, but not acknowledged.
        missing = acknowledged - stored.keys() - gone
        assert len(missing) <= batches  # the deletion that was told of by no line, of each kill at most
        ids = list(stored)
        matrix = np.array([stored[id].vector for id in ids], np.float32)
        matrix /= np.linalg.norm(matrix, axis=1)[:, None]
        found = 0
        questions = np.random.default_rng(3).standard_normal((20, DIMENSION)).astype(np.float32)
        for question in questions:
            best = np.argsort(-(matrix @ question))[:10]
            answer = points.search(question, top_k=10)
            found += len({ids[at] for at in best} & {match.id for match in answer})
            assert {match.id for match in answer} <= stored.keys()
        assert found >= 0.9 * 200
        for id in random.Random(3).sample(ids, 20):
            [match] = points.search(stored[id].vector, top_k=1)
            assert match.score == pytest.approx(1, abs=1e-5)
        state = points.index()
        assert state.tail + sum(each.documents for each in state.segments) == len(stored)
        assert all(finding.ok for finding in db.doctor())
    return len(state.segments)


def killed_and_opened(tmp_path: Path, kills: int) -> int:
    """Kill so many times; return how often there were segments."""
    chance = random.Random(kills)
    place = tmp_path / "data"
    with akidb.connect(place, synchronous="normal") as db:
        db.tenants.create("Aki", qps_quota=None).databases.create("kb").collections.create("points")
    batches, had_segments = 0, 0
    gone: set[str] = set()
    for _ in range(kills):
        batches = write_and_kill(place, batches, chance.uniform(0.1, 2.5), gone)
        had_segments += require_whole(place, batches, gone) > 0
    return had_segments


def test_killed_process_loses_nothing_of_segments(tmp_path: Path) -> None:
    assert killed_and_opened(tmp_path, 2)


@pytest.mark.slow
def test_processes_killed_at_many_moments_lose_nothing(tmp_path: Path) -> None:
    assert killed_and_opened(tmp_path, 40) > 20


def test_purge_removes_segments_and_ends_their_build(tmp_path: Path) -> None:
    with akidb.connect(tmp_path / "data") as db:
        kb = db.tenants.create("Aki", qps_quota=None).databases.create("kb")
        points = kb.collections.create("points")
        vectors = np.random.default_rng(1).standard_normal((5000, DIMENSION)).astype(np.float32)
        points.upsert(vectors=vectors)
        points.search(vectors[0])
        assert points.index().building
        kb.collections.delete("points")
        kb.collections.purge("points")
        assert not list((tmp_path / "data" / "indexes").rglob("*"))


def test_directory_that_cannot_be_written_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with akidb.connect(tmp_path / "data") as db:
        points = db.tenants.create("Aki", qps_quota=None).databases.create("kb").collections.create("points")
        vectors = np.random.default_rng(1).standard_normal((5000, DIMENSION)).astype(np.float32)
        points.upsert(vectors=vectors)
        shutil.rmtree(tmp_path / "data" / "indexes", ignore_errors=True)
        (tmp_path / "data" / "indexes").write_text("in the way")
        with caplog.at_level(logging.WARNING, "akidb.search"):
            for vector in vectors[:3]:
                assert points.search(vector, top_k=1)[0].score == pytest.approx(1, abs=1e-5)
                points.upsert(vectors=vectors[:1])
                while points.index().building:
                    time.sleep(0.01)
        assert points.search(vectors[0]).statistics.plan == "exact"
    assert sum("a segment cannot be built" in record.message for record in caplog.records) == 1
