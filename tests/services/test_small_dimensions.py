"""Collections of 1 to 15 dimensions, which older versions refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from akidb.domain.entities import Metric
from akidb.domain.errors import InvalidArgument
from akidb.operations.collections import CreateCollection
from akidb.operations.documents import GetDocuments, SearchDocuments, UpsertDocuments
from akidb.operations.tenants import GetUsage, UpdateTenant
from akidb.operations.upkeep import CheckStores

from .archived import exported, take_in
from .worlds import World, opened


def true_scores(vectors: Any, question: Any, metric: Metric) -> Any:
    wide, other = vectors.astype(np.float64), question.astype(np.float64)
    if metric is Metric.L2:
        return -np.linalg.norm(wide - other, axis=1)
    scores = wide @ other
    if metric is Metric.COSINE:
        return scores / np.linalg.norm(wide, axis=1) / np.linalg.norm(other)
    return scores


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("dimension", [1, 2, 3, 15])
def test_searches_equal_brute_force(world: World, tmp_path: Path, dimension: int, metric: Metric) -> None:
    path = world.place(dimension=dimension, metric=metric)
    vectors = np.random.default_rng(dimension).normal(size=(40, dimension)).astype(np.float32)
    documents = [{"id": f"d{at:02}", "vector": vector} for at, vector in enumerate(vectors)]
    world.on(path, UpsertDocuments, documents=documents)
    question = np.arange(1, dimension + 1, dtype=np.float32)
    expected = np.sort(true_scores(vectors, question, metric))[::-1][:7]
    for quota in (2**30, 0):
        world.ops.perform(UpdateTenant(tenant="aki-labs", memory_quota_bytes=quota))
        found = world.on(path, SearchDocuments, vector=question, top_k=7).matches
        assert [match.score for match in found] == pytest.approx(expected.tolist(), rel=1e-5, abs=1e-6)
    assert world.ops.perform(GetUsage(tenant="aki-labs")).storage_bytes.used == 40 * (3 + 2 + 4 * dimension)
    assert [each for each in world.ops.perform(CheckStores()).items if not each.ok] == []
    with opened(tmp_path / "elsewhere") as other:
        take_in(other, exported(world))
        [read] = other.on(path, GetDocuments, ids=["d03"], include=["vector"])
        assert np.array_equal(np.asarray(read.vector), vectors[3])


@pytest.mark.parametrize("dimension", [0, -1, 4097, True, 1.5, "3"])
def test_other_dimensions_are_refused(world: World, dimension: Any) -> None:
    world.tenant()
    world.database()
    with pytest.raises(InvalidArgument) as refused:
        world.ops.perform(CreateCollection(tenant="aki-labs", database="kb", name="new", dimension=dimension))
    assert refused.value.field == "dimension"


def test_vector_of_another_dimension_is_refused(world: World) -> None:
    path = world.place(dimension=1)
    for vector in ([], [1.0, 2.0], [0.0]):
        with pytest.raises(InvalidArgument) as refused:
            world.on(path, UpsertDocuments, documents=[{"id": "a", "vector": vector}])
        assert refused.value.field == "documents[0].vector"
