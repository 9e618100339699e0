"""What a segment contains and finds."""

import threading
from pathlib import Path

import numpy as np
import pytest
from msgspec import structs
from segment_samples import (
    best,
    build_here,
    exact,
    expected,
    made_segment,
    put_rows,
    sample_vectors,
)

from akidb.domain.entities import Metric
from akidb.domain.ids import CollectionId, StoreId
from akidb.search.scoring import Floats, exact_scores, prepare_query, prepare_rows
from akidb.search.segments.build import JobSource
from akidb.search.segments.files import SegmentDamaged
from akidb.search.segments.graph import COMPRESSED, NONE, PLAIN, Allowed
from akidb.search.segments.header import Recall
from akidb.search.segments.ids import Ids, ids_as_arrays, look_up_arrays
from akidb.search.segments.recall import LARGEST_EF, candidates_for, ef_among, ef_for
from akidb.search.segments.segment import Segment

COUNT = 800


def recall(segment: Segment, vectors: Floats, queries: Floats, ef: int) -> float:
    metric = segment.header.metric
    found = [set(best(segment, each, 10, ef)) & set(exact(vectors, metric, each, 10)) for each in queries]
    return sum(map(len, found)) / (10 * len(queries))


def test_segment_keeps_every_row_under_its_id(tmp_path: Path) -> None:
    vectors = sample_vectors(COUNT)
    segment = Segment(made_segment(tmp_path, vectors), expected())
    assert segment.count == COUNT
    assert sorted(segment.ids) == sorted(f"doc-{at}" for at in range(COUNT))
    positions = segment.ids.positions([f"doc-{at}" for at in range(COUNT)])
    assert np.array_equal(segment.keys[positions], np.arange(COUNT) + 100)
    assert np.array_equal(segment.sequences[positions], np.arange(COUNT) + 1)
    prepared = prepare_rows(vectors, Metric.COSINE)
    assert np.array_equal(segment.vectors.read(positions), prepared)
    whole = np.concatenate([rows for _, rows in segment.vectors.chunks()])
    assert np.array_equal(whole[positions], prepared)
    assert (segment.header.after, segment.header.through) == (0, 10_000)


@pytest.mark.parametrize("metric", list(Metric))
def test_calibrated_search_reaches_its_recall(tmp_path: Path, metric: Metric) -> None:
    vectors = sample_vectors(COUNT)
    segment = Segment(made_segment(tmp_path, vectors, expected(metric)), expected(metric))
    assert segment.header.graph == COMPRESSED
    ef = segment.ef_for(0.95, 10)
    assert ef is not None
    assert recall(segment, vectors, sample_vectors(40, seed=2), ef) >= 0.88
    assert recall(segment, vectors, sample_vectors(40, seed=2), 400) >= 0.98


@pytest.mark.parametrize("metric", [Metric.DOT, Metric.L2])
@pytest.mark.parametrize("factor", [1e-40, 1e-25, 1e25])
def test_vectors_of_any_length_are_found(tmp_path: Path, metric: Metric, factor: float) -> None:
    vectors = sample_vectors(COUNT) * np.float32(factor)
    segment = Segment(made_segment(tmp_path, vectors, expected(metric)), expected(metric))
    queries = sample_vectors(20, seed=2) * np.float32(factor)
    assert recall(segment, vectors, queries, 200) >= 0.97


@pytest.mark.parametrize("factor", [0.0, 1e-30, 1e10])
def test_queries_of_another_length_than_the_vectors_are_answered(tmp_path: Path, factor: float) -> None:
    vectors = sample_vectors(COUNT)
    segment = Segment(made_segment(tmp_path, vectors, expected(Metric.L2)), expected(Metric.L2))
    query = sample_vectors(1, seed=2)[0] * np.float32(factor)
    found = set(best(segment, query, 10, 200))
    assert len(found & set(exact(vectors, Metric.L2, query, 10))) >= 9


def test_one_huge_vector_does_not_hide_the_others(tmp_path: Path) -> None:
    vectors = sample_vectors(COUNT)
    vectors[7] *= np.float32(1e6)
    segment = Segment(made_segment(tmp_path, vectors, expected(Metric.L2)), expected(Metric.L2))
    assert segment.header.graph in {PLAIN, NONE}
    if segment.header.graph == PLAIN:
        assert recall(segment, vectors, sample_vectors(20, seed=2), 200) >= 0.95


def test_equal_vectors_are_all_found(tmp_path: Path) -> None:
    vectors = np.repeat(sample_vectors(3), 200, axis=0)
    segment = Segment(made_segment(tmp_path, vectors), expected())
    found = best(segment, vectors[250], 10, 64) if segment.graph else []
    assert all(200 <= int(id.removeprefix("doc-")) < 400 for id in found)
    assert len(found) == (10 if segment.graph else 0)


def test_search_finds_only_allowed_positions(tmp_path: Path) -> None:
    vectors = sample_vectors(COUNT)
    segment = Segment(made_segment(tmp_path, vectors), expected())
    mask = np.random.default_rng(3).random(COUNT) < 0.3
    allowed = Allowed(mask)
    assert allowed.count == np.count_nonzero(mask)
    query = prepare_query(vectors[5], Metric.COSINE)
    positions, scores = segment.search(query, 20, 200, allowed)
    assert len(positions) == 20
    assert mask[positions].all()
    assert np.all(np.diff(scores) <= 0)
    few, _ = segment.search(query, 20, 200, Allowed(np.arange(COUNT) < 3))
    assert set(few.tolist()) <= {0, 1, 2}
    none, _ = segment.search(query, 20, 200, Allowed(np.zeros(COUNT, dtype=np.bool_)))
    assert len(none) == 0


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("huge", [False, True])
def test_gathered_vectors_are_all_scanned(tmp_path: Path, metric: Metric, huge: bool) -> None:
    vectors = sample_vectors(COUNT)
    vectors[7] *= np.float32(1e6 if huge else 1)
    segment = Segment(made_segment(tmp_path, vectors, expected(metric)), expected(metric))
    positions = np.flatnonzero(np.random.default_rng(3).random(COUNT) < 0.1)
    if segment.graph is None:
        assert huge
        return
    gathered = segment.graph.gather(positions)
    rows = segment.vectors.read(positions)
    for vector in sample_vectors(20, seed=2):
        query = prepare_query(vector, metric)
        found, scores = gathered.search(segment.graph.prepare(query), candidates_for(10))
        assert np.all(np.diff(scores) <= 0)
        best_rows = np.argsort(-np.array(exact_scores(rows, query)))[:10]
        assert len(set(positions[best_rows].tolist()) & set(found.tolist())) >= 9
    empty = segment.graph.gather(positions[:0])
    assert len(empty.search(segment.graph.prepare(query), 5)[0]) == 0
    few, _ = segment.graph.gather(positions[:3]).search(segment.graph.prepare(query), 5)
    assert sorted(few.tolist()) == positions[:3].tolist()


@pytest.mark.parametrize("metric", list(Metric))
def test_deleted_topic_is_searched_more_widely(tmp_path: Path, metric: Metric) -> None:
    vectors = sample_vectors(COUNT)
    segment = Segment(made_segment(tmp_path, vectors, expected(metric)), expected(metric))
    query = prepare_query(sample_vectors(1, seed=2)[0], metric)
    rows = segment.vectors.read(np.arange(COUNT))
    scores = np.array(exact_scores(rows, query))
    mask = np.ones(COUNT, dtype=np.bool_)
    everything, usual = segment.find(query, 5, 32, None, None)
    assert len(everything) == candidates_for(5)
    assert segment.find(query, 5, 32, mask, Allowed(mask))[1] == usual
    mask[np.argsort(-scores)[:60]] = False
    found, ef = segment.find(query, 5, 32, mask, Allowed(mask))
    assert ef > usual
    assert mask[found].all()
    wanted = np.argsort(-np.where(mask, scores, -np.inf))[:5]
    assert len(set(wanted.tolist()) & set(found.tolist())) >= 4


def test_ef_grows_with_what_is_not_allowed_nearby() -> None:
    assert ef_among(32, 32, 32, 13) is None
    assert ef_among(32, 32, 20, 13) is None
    assert ef_among(16, 16, 12, 13) == 20
    widened = [ef_among(32, 32, allowed, 13) for allowed in (16, 8, 4, 1, 0)]
    assert widened == [54, 91, 153, 431, 431]
    assert ef_among(1000, 1000, 0, 13) == LARGEST_EF
    assert ef_among(10, 0, 0, 13) == 13


def test_searches_run_in_several_threads(tmp_path: Path) -> None:
    vectors = sample_vectors(COUNT)
    segment = Segment(made_segment(tmp_path, vectors), expected())
    masks = [np.arange(COUNT) % 3 == part for part in range(3)]
    wrong: list[str] = []

    def look(part: int) -> None:
        allowed = Allowed(masks[part])
        for at in range(200):
            query = prepare_query(vectors[at], Metric.COSINE)
            positions, _ = segment.search(query, 14, 40 + at % 90, allowed)
            if not masks[part][positions].all() or len(positions) < 14:
                wrong.append(f"{part}: {at}")

    threads = [threading.Thread(target=look, args=(part,)) for part in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_sources_are_merged_without_their_dead_rows(tmp_path: Path) -> None:
    wanted, vectors = expected(), sample_vectors(900)
    old = put_rows(tmp_path / "old", wanted, vectors[:600], [f"doc-{at}" for at in range(600)])
    build_here(tmp_path / "first", wanted, [JobSource(str(old), None)])
    first = Segment(tmp_path / "first", wanted)
    new_ids = [f"doc-{at}" for at in range(500, 800)]
    new = put_rows(tmp_path / "new", wanted, vectors[600:], new_ids, start=600)
    alive = np.ones(600, dtype=np.bool_)
    alive[first.ids.positions([f"doc-{at}" for at in range(500, 600)])] = False
    alive.tofile(tmp_path / "alive")
    sources = [JobSource(str(tmp_path / "first"), str(tmp_path / "alive")), JobSource(str(new), None)]
    build_here(tmp_path / "second", wanted, sources)
    second = Segment(tmp_path / "second", wanted)
    assert second.count == 800
    positions = second.ids.positions([f"doc-{at}" for at in range(800)])
    assert np.array_equal(second.keys[positions], np.r_[np.arange(500), np.arange(600, 900)] + 100)
    prepared = prepare_rows(vectors, Metric.COSINE)
    assert np.array_equal(second.vectors.read(positions), np.concatenate([prepared[:500], prepared[600:]]))


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("factor", [1, 5])
def test_extended_segment_keeps_its_positions(tmp_path: Path, metric: Metric, factor: int) -> None:
    wanted, vectors = expected(metric), sample_vectors(COUNT)
    vectors[500:] *= np.float32(factor)  # of another range than the first ones, except for cosine
    old = put_rows(tmp_path / "old", wanted, vectors[:500], [f"doc-{at}" for at in range(500)])
    build_here(tmp_path / "first", wanted, [JobSource(str(old), None)])
    first = Segment(tmp_path / "first", wanted)
    new_ids = [f"doc-{at}" for at in range(500, COUNT)]
    new = put_rows(tmp_path / "new", wanted, vectors[500:], new_ids, start=500)
    sources = [JobSource(str(tmp_path / "first"), None), JobSource(str(new), None)]
    build_here(tmp_path / "second", wanted, sources, extend=True)
    second = Segment(tmp_path / "second", wanted)
    assert second.count == COUNT
    assert second.ids[:500] == first.ids[:]
    assert np.array_equal(second.keys[:500], first.keys)
    assert recall(second, vectors, sample_vectors(30, seed=2), 200) >= 0.97


def test_segment_extended_by_few_rows_keeps_its_recalls(tmp_path: Path) -> None:
    wanted, vectors = expected(), sample_vectors(COUNT)
    ids = [f"doc-{at}" for at in range(COUNT)]
    old = put_rows(tmp_path / "old", wanted, vectors[:-3], ids[:-3])
    build_here(tmp_path / "first", wanted, [JobSource(str(old), None)])
    new = put_rows(tmp_path / "new", wanted, vectors[-3:], ids[-3:], start=COUNT - 3)
    np.zeros(COUNT - 3, dtype=np.bool_).tofile(tmp_path / "alive")
    sources = [JobSource(str(tmp_path / "first"), str(tmp_path / "alive")), JobSource(str(new), None)]
    build_here(tmp_path / "second", wanted, sources, extend=True)
    first, second = Segment(tmp_path / "first", wanted), Segment(tmp_path / "second", wanted)
    assert second.header.recalls == first.header.recalls
    assert second.count == COUNT, "the first rows stay, dead or not"
    assert best(second, vectors[-1], 1, 50) == [ids[-1]]


def test_id_in_two_sources_is_refused(tmp_path: Path) -> None:
    wanted = expected()
    sources = []
    for name in ("a", "b"):
        ids = [*(f"{name}{at}" for at in range(9)), "x"]
        sources.append(JobSource(str(put_rows(tmp_path / name, wanted, sample_vectors(10), ids)), None))
    with pytest.raises(ValueError, match="same id"):
        build_here(tmp_path / "segment", wanted, sources)


@pytest.mark.parametrize("dimension", [1, 3, 16, 4096])
def test_any_dimension(tmp_path: Path, dimension: int) -> None:
    vectors = sample_vectors(60, dimension=dimension)
    wanted = expected(Metric.L2, dimension)
    segment = Segment(made_segment(tmp_path, vectors, wanted), wanted)
    assert segment.count == 60
    positions = segment.ids.positions(["doc-3", "doc-59"])
    assert np.array_equal(segment.vectors.read(positions), vectors[[3, 59]])


def test_single_row_needs_no_graph(tmp_path: Path) -> None:
    segment = Segment(made_segment(tmp_path, sample_vectors(1)), expected())
    assert (segment.count, segment.graph, segment.ef_for(0.9, 10)) == (1, None, None)


def test_ids_are_found_among_others_with_their_hash() -> None:
    ids = [b"one", b"two", b"", "größe".encode()]
    arrays = {**ids_as_arrays(ids), **look_up_arrays(ids)}
    arrays["hashes"] = np.full(4, int(arrays["hashes"][0]), dtype=np.uint64)
    forged = Ids(arrays)
    assert forged._among(0, int(arrays["hashes"][0]), b"two") == 1
    assert forged._among(0, int(arrays["hashes"][0]), b"three") == -1
    found = Ids({**ids_as_arrays(ids), **look_up_arrays(ids)})
    assert found.positions(["two", "zwei", "größe", "one", ""]).tolist() == [1, -1, 3, 0, 2]
    assert (found.position("one"), found.position("eins"), found[3]) == (0, None, "größe")
    assert found.at(np.array([3, 0])) == ["größe", "one"]


def test_ef_comes_from_the_measured_recalls() -> None:
    measured = [Recall(10, 16, 0.9), Recall(10, 32, 0.96), Recall(10, 64, 0.995), Recall(100, 128, 0.97)]
    assert ef_for(measured, 0.95, 10) == 32
    assert ef_for(measured, 0.99, 3) == 64
    assert ef_for(measured, 0.95, 55) == 80
    assert ef_for(measured, 0.95, 100) == 128
    assert ef_for(measured, 0.99, 11) is None
    assert ef_for(measured, 0.95, 500) == max(640, candidates_for(500))
    assert ef_for(measured, 0.999, 10) is None
    assert ef_for([], 0.5, 10) is None


def test_segment_of_something_else_is_refused(tmp_path: Path) -> None:
    place = made_segment(tmp_path, sample_vectors(50))
    for other in (
        expected(Metric.DOT),
        expected(dimension=16),
        structs.replace(expected(), store_id=StoreId(b"x" * 16)),
        structs.replace(expected(), collection_id=CollectionId(b"x" * 16)),
    ):
        with pytest.raises(SegmentDamaged, match="instead of"):
            Segment(place, other)
