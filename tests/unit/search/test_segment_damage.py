"""Damaged files of a segment: one error, which names the file, and no crash."""

import os
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
from segment_samples import expected, made_segment, sample_vectors

from akidb.search.segments.files import SegmentDamaged
from akidb.search.segments.segment import Segment

FILES = (
    "segment.json",
    "graph",
    "keys",
    "sequences",
    "ids",
    "offsets",
    "hashes",
    "places",
    "sums",
    "vectors",
)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_segment(tmp_path_factory.mktemp("sound"), sample_vectors(300))


@pytest.fixture
def segment(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "segment"))


def use(place: Path) -> None:
    """Open a segment and read all of it."""
    for _ in Segment(place, expected()).vectors.chunks():
        pass


def test_all_files_are_tested(segment: Path) -> None:
    assert {path.name for path in segment.iterdir()} == set(FILES)
    use(segment)


@pytest.mark.parametrize("name", FILES)
def test_missing_file(segment: Path, name: str) -> None:
    (segment / name).unlink()
    with pytest.raises(SegmentDamaged, match=name):
        use(segment)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_truncated_file(segment: Path, name: str, share: float) -> None:
    size = (segment / name).stat().st_size
    os.truncate(segment / name, int(size * share))
    with pytest.raises(SegmentDamaged, match=name):
        use(segment)


@pytest.mark.parametrize("name", FILES)
def test_longer_file(segment: Path, name: str) -> None:
    with (segment / name).open("ab") as file:
        file.write(b"\0" * 512)
    with pytest.raises(SegmentDamaged, match=name):
        use(segment)


@pytest.mark.parametrize("name", FILES)
def test_flipped_bits(segment: Path, name: str) -> None:
    whole = (segment / name).read_bytes()
    places = np.random.default_rng(len(name)).integers(0, 8 * len(whole), 12).tolist()
    for bit in [0, 8 * len(whole) - 1, *places]:
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        (segment / name).write_bytes(changed)
        with pytest.raises(SegmentDamaged, match=name):
            use(segment)


@pytest.mark.parametrize("name", FILES)
def test_zeroed_file(segment: Path, name: str) -> None:
    size = (segment / name).stat().st_size
    (segment / name).write_bytes(bytes(size))
    with pytest.raises(SegmentDamaged, match=name):
        use(segment)


def test_file_that_is_a_directory(segment: Path) -> None:
    (segment / "keys").unlink()
    (segment / "keys").mkdir()
    with pytest.raises(SegmentDamaged, match="keys"):
        use(segment)


def test_file_of_another_segment(segment: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = made_segment(tmp_path / "other", sample_vectors(300, seed=9))
    shutil.copy(other / "graph", segment / "graph")
    with pytest.raises(SegmentDamaged, match="graph"):
        use(segment)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_vectors_that_are_truncated_while_they_are_open(segment: Path, share: float) -> None:
    opened = Segment(segment, expected())
    os.truncate(segment / "vectors", int((segment / "vectors").stat().st_size * share))
    assert len(opened.vectors.read(np.arange(int(300 * share)))) == int(300 * share)
    with pytest.raises(SegmentDamaged, match="ends too early"):
        opened.vectors.read(np.array([1, 299]))


def test_vectors_that_are_altered_while_they_are_open(segment: Path) -> None:
    opened = Segment(segment, expected())
    with (segment / "vectors").open("r+b") as file:
        file.seek(4 * 24 * 17)
        file.write(b"\1\2")
    with pytest.raises(SegmentDamaged, match="checksums"):
        opened.vectors.read(np.array([16, 17]))
    assert opened.vectors.read(np.array([16, 18])).shape == (2, 24)


def test_damage_of_other_files_does_not_reach_an_open_segment(segment: Path) -> None:
    opened = Segment(segment, expected())
    for name in FILES:
        if name != "vectors":
            os.truncate(segment / name, 0)
    assert opened.ids[3].startswith("doc-")
    assert opened.graph is not None
    positions, _ = opened.graph.search(opened.vectors.read(np.array([5]))[0], 10, 50, None)
    assert 5 in positions


def test_too_many_open_files_are_not_damage(segment: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1, limits[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            Segment(segment, expected())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    use(segment)


def test_file_is_closed_with_its_segment(segment: Path) -> None:
    opened = Segment(segment, expected())
    descriptor = opened.vectors._descriptor
    assert os.path.samestat(os.fstat(descriptor), (segment / "vectors").stat())
    del opened
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
