"""Small segments, built in this process."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from akidb.domain.entities import Metric
from akidb.domain.ids import CollectionId, StoreId
from akidb.ports.search import GraphSettings
from akidb.search.scoring import Floats, exact_scores, prepare_query, prepare_rows
from akidb.search.segments.build import Job, JobSource, build
from akidb.search.segments.graph import Allowed
from akidb.search.segments.header import Expected
from akidb.search.segments.recall import candidates_for
from akidb.search.segments.rows import write_rows
from akidb.search.segments.segment import Segment

DIMENSION = 24
SETTINGS = GraphSettings(m=8, ef_construction=40)


def expected(metric: Metric = Metric.COSINE, dimension: int = DIMENSION) -> Expected:
    return Expected(
        store_id=StoreId(b"s" * 16),
        collection_id=CollectionId(b"c" * 16),
        dimension=dimension,
        metric=metric,
    )


def sample_vectors(count: int, seed: int = 1, dimension: int = DIMENSION) -> Floats:
    """Vectors around a few centres, as texts of several topics have."""
    centres = np.random.default_rng(0).normal(size=(12, dimension))
    random = np.random.default_rng(seed)
    vectors = centres[random.integers(0, 12, count)] + random.normal(size=(count, dimension)) * 0.5
    return vectors.astype(np.float32)


def put_rows(directory: Path, wanted: Expected, vectors: Floats, ids: Sequence[str], start: int = 0) -> Path:
    """Write rows, of which number `i` has the key `start + i + 100` and the sequence `start + i + 1`."""
    order = np.arange(start, start + len(ids))
    write_rows(directory, wanted, prepare_rows(vectors, wanted.metric), order + 100, order + 1, ids, {})
    return directory


def build_here(target: Path, wanted: Expected, sources: Sequence[JobSource], *, extend: bool = False) -> None:
    job = Job(
        target=str(target),
        store_id=str(wanted.store_id),
        collection_id=str(wanted.collection_id),
        dimension=wanted.dimension,
        metric=wanted.metric,
        settings=SETTINGS,
        after=0,
        through=10_000,
        sources=list(sources),
        extend=extend,
        threads=1,
        niceness=0,
        import_path=[],
    )
    build(job)


def made_segment(folder: Path, vectors: Floats, wanted: Expected | None = None) -> Path:
    """Return the directory of a segment with ids `doc-0`, `doc-1`, ..."""
    wanted = wanted or expected(dimension=vectors.shape[1])
    rows = put_rows(folder / "rows", wanted, vectors, [f"doc-{at}" for at in range(len(vectors))])
    build_here(folder / "segment", wanted, [JobSource(str(rows), None)])
    return folder / "segment"


def best(segment: Segment, vector: Floats, top_k: int, ef: int, allowed: Allowed | None = None) -> list[str]:
    """Return the ids of a search, scored exactly."""
    query = prepare_query(vector, segment.header.metric)
    positions, _ = segment.search(query, candidates_for(top_k), ef, allowed)
    scores = exact_scores(segment.vectors.read(positions), query)
    found = sorted(zip(scores, (segment.ids[at] for at in positions), strict=True), key=lambda pair: -pair[0])
    return [id for _, id in found[:top_k]]


def exact(vectors: Floats, metric: Metric, vector: Floats, top_k: int) -> list[str]:
    """Return the ids of an exact search."""
    scores = np.array(exact_scores(prepare_rows(vectors, metric), prepare_query(vector, metric)))
    return [f"doc-{at}" for at in np.argsort(-scores, kind="stable")[:top_k]]
