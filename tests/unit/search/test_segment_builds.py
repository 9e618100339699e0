"""Builds of segments in child processes: alone, at once, killed, without space, and after their parent."""

import json
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from segment_samples import SETTINGS, expected, made_segment, put_rows, sample_vectors

from akidb.ports.search import GraphSettings
from akidb.search.segments import builder
from akidb.search.segments.builder import Build, BuildFailed, BuildSource, remove_leftovers, segments_in
from akidb.search.segments.header import Expected
from akidb.search.segments.segment import Segment
from own_disks import mounted

# Without `if __name__ == "__main__"`, as in a notebook; run by a second parent.
PARENT = """
import sys, time
from pathlib import Path
sys.path[:] = {path!r}
from segment_samples import *
from akidb.search.segments.builder import Build, BuildSource
wanted, settings = expected(dimension=64), GraphSettings(m=32, ef_construction=4096)
build = Build(Path(sys.argv[1]))
put_rows(build.rows, wanted, sample_vectors(6000, dimension=64), [str(at) for at in range(6000)])
build.start(wanted, settings, [BuildSource(build.rows)], 0, 6000, 1)
print(build.pid, flush=True)
time.sleep(600)
"""


SLOW = GraphSettings(m=32, ef_construction=4096)
"""Of a build that takes some seconds."""


def started(place: Path, wanted: Expected, count: int, settings: GraphSettings = SETTINGS) -> Build:
    build = Build(place)
    vectors = sample_vectors(count, dimension=wanted.dimension)
    put_rows(build.rows, wanted, vectors, [f"doc-{at}" for at in range(count)])
    build.start(wanted, settings, [BuildSource(build.rows)], 3, 9, 1)
    return build


def wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.01)


def test_builds_at_once_become_segments(tmp_path: Path) -> None:
    place, wanted = tmp_path / "store" / "collection", expected()
    builds = [started(place, wanted, count) for count in (300, 400)]
    assert all(os.getpgid(build.pid or 0) != os.getpgid(0) for build in builds), (
        "interrupted with their parent"
    )
    assert not segments_in(place)
    finished = []
    for build in builds:
        build.wait()
        finished.append(build.finish())
    assert sorted(segments_in(place)) == sorted(finished)
    assert sorted(place.iterdir()) == sorted(finished), "something is left"
    assert [Segment(path, wanted).count for path in finished] == [300, 400]
    header = Segment(finished[0], wanted).header
    assert (header.after, header.through) == (3, 9)
    alive = np.arange(300) % 2 == 0
    merge = Build(place)
    merge.start(wanted, SETTINGS, [BuildSource(finished[0], alive)], 0, 9, 1)
    merge.wait()
    merged = Segment(merge.finish(), wanted)
    first = Segment(finished[0], wanted)
    assert sorted(merged.ids) == sorted(first.ids[at] for at in range(0, 300, 2))


def test_killed_build_leaves_no_segment(tmp_path: Path) -> None:
    build = started(tmp_path, expected(dimension=64), 4000, SLOW)
    assert build.pid is not None
    with pytest.raises(TimeoutError):
        build.wait(0)
    wait_for(build.rows.parent / "segment" / "vectors")
    os.kill(build.pid, signal.SIGKILL)
    with pytest.raises(BuildFailed, match="killed by signal 9"):
        build.wait()
    assert not segments_in(tmp_path)
    assert [path.name[:7] for path in tmp_path.iterdir()] == [".build-"]
    remove_leftovers(tmp_path)
    assert not list(tmp_path.iterdir())
    build.cancel()


def test_cancelled_build_leaves_nothing(tmp_path: Path) -> None:
    build = started(tmp_path, expected(dimension=64), 4000, SLOW)
    build.cancel()
    assert not list(tmp_path.iterdir())
    assert not segments_in(tmp_path / "none")


def test_build_ends_with_its_parent(tmp_path: Path) -> None:
    script = PARENT.format(path=sys.path)
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
    try:
        assert select.select([child], [], [], 60)[0], "the child still runs"
    finally:
        os.close(child)
    assert not segments_in(tmp_path)


def test_damaged_source_is_named(tmp_path: Path) -> None:
    source = made_segment(tmp_path, sample_vectors(300))
    with (source / "vectors").open("r+b") as file:
        file.write(b"\1")
    build = Build(tmp_path / "place")
    build.start(expected(), SETTINGS, [BuildSource(source)], 0, 9, 1)
    with pytest.raises(BuildFailed, match="checksums") as caught:
        build.wait()
    assert caught.value.damaged == source
    build.cancel()


@pytest.mark.own_disk
def test_full_disk(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    source = put_rows(
        tmp_path / "rows", expected(), sample_vectors(4000), [f"doc-{at}" for at in range(4000)]
    )
    with mounted(place, "size=300k"):
        build = Build(place)
        build.start(expected(), SETTINGS, [BuildSource(source)], 0, 9, 1)
        with pytest.raises(BuildFailed, match="No space left"):
            build.wait()
        build.cancel()
        assert not list(place.iterdir())


def test_child_imports_nothing_of_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json.py", "faiss.py", "sitecustomize.py"):
        (tmp_path / name).write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    build = started(tmp_path / "place", expected(), 50)
    build.wait()
    assert Segment(build.finish(), expected()).count == 50


def test_program_that_embeds_python_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    assert builder._interpreter() == sys.executable
    monkeypatch.setattr(sys, "executable", "/usr/bin/uwsgi")
    assert Path(builder._interpreter()).name.startswith("python")
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(BuildFailed, match="interpreter"):
        builder._interpreter()


def test_job_contains_no_more_than_it_needs(tmp_path: Path) -> None:
    build = started(tmp_path, expected(), 50)
    job = json.loads((build.rows.parent / "job.json").read_text())
    assert all(Path(entry).is_absolute() for entry in job["import_path"])
    assert (build.rows.parent.stat().st_mode & 0o777, build.rows.stat().st_mode & 0o777) == (0o700, 0o700)
    assert {path.stat().st_mode & 0o777 for path in build.rows.iterdir()} == {0o600}
    build.cancel()
