"""The state of an index, what searches say of it, and its rebuilding; with a real build."""

import time
from collections.abc import Iterator

import numpy as np
import pytest

import akidb
from akidb.client.handles.documents import CollectionHandle

VECTORS = np.random.default_rng(4).standard_normal((4200, 8)).astype(np.float32)
METADATA = [{"n": n} for n in range(4200)]


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CollectionHandle]:
    with akidb.connect(tmp_path_factory.mktemp("index"), synchronous="normal") as db:
        kb = db.tenants.create("Aki", qps_quota=None).databases.create("kb")
        made = kb.collections.create("points", hnsw_m=8, hnsw_ef_construction=40)
        made.upsert(ids=[f"d{n}" for n in range(4200)], vectors=VECTORS, metadatas=METADATA)
        made.search(VECTORS[0])
        settled(made)
        yield made


def settled(points: CollectionHandle) -> None:
    while points.index().building:
        time.sleep(0.01)


def test_state_shows_segments_and_what_is_newer(points: CollectionHandle) -> None:
    state = points.index()
    [segment] = state.segments
    assert (segment.documents, segment.m, segment.ef_construction) == (4200, 8, 40)
    assert segment.recall is not None
    assert segment.recall >= 0.95
    assert (state.loaded, state.tail, state.lag) == (True, 0, 0)
    assert min(segment.memory_bytes, segment.disk_bytes, state.memory_bytes) > 4200 * 8
    points.upsert(ids=["d0", "new"], vectors=VECTORS[:2], metadatas=METADATA[:2])
    assert points.index().lag == 2
    points.search(VECTORS[0])
    state = points.index()
    assert (state.lag, state.tail, state.deleted, state.segments[0].documents) == (0, 2, 1, 4199)


def test_steps_say_what_was_done(points: CollectionHandle) -> None:
    few = {"n": {"$lt": 30}}
    for asked, plan in (
        ({}, "hnsw"),
        ({"ef_search": 64}, "hnsw"),
        ({"filter": few}, "sq8"),
        ({"recall": 1}, "exact"),
        ({"filter": {"n": -1}}, "exact"),
    ):
        statistics = points.search(VECTORS[5], explain=True, **asked).statistics
        assert statistics.plan == plan
        assert statistics.steps is not None
        assert sum(step.scanned for step in statistics.steps) == statistics.scanned
        assert sum(step.allowed for step in statistics.steps) == statistics.allowed
        assert all(step.why for step in statistics.steps)
    assert points.search(VECTORS[5]).statistics.steps is None


@pytest.mark.parametrize("recall", [0, 1.01, -1, "1", float("nan"), True])
def test_impossible_recall_is_named(points: CollectionHandle, recall: object) -> None:
    with pytest.raises(akidb.InvalidArgument, match="recall"):
        points.search(VECTORS[0], recall=recall)  # type: ignore[arg-type]


def test_index_is_made_anew(points: CollectionHandle) -> None:
    points.search(VECTORS[0])
    points.rebuild_index()
    settled(points)
    state = points.index()
    assert sum(each.documents for each in state.segments) + state.tail == points.count()
    assert state.deleted == 0
    [match] = points.search(VECTORS[9], top_k=1)
    assert match.id == "d9"
