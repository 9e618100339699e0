"""Generators, tuples and values of NumPy as arguments, in process and over HTTP."""

from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import akidb
from akidb.domain.errors import InvalidArgument
from api.running import threaded

DIMENSION = 16
VECTOR = np.ones(DIMENSION)


@pytest.fixture(params=["in process", "over HTTP"])
def points(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[akidb.CollectionHandle]:
    if request.param == "in process":
        with akidb.connect(tmp_path / "data") as client:
            yield _points(client)
    else:
        with threaded(tmp_path / "data") as server, akidb.connect(server.url) as client:
            yield _points(client)


def _points(client: akidb.Client) -> akidb.CollectionHandle:
    database = client.tenants.create("Aki").databases.create("kb")
    return database.collections.create("points", dimension=np.int64(DIMENSION))  # type: ignore[arg-type]


def test_documents_and_ids_may_be_any_iterable(points: Any) -> None:
    given = ({"id": np.str_(f"p{n}"), "vector": VECTOR, "metadata": {"n": np.int64(n)}} for n in range(5))
    assert points.upsert(given).ids == [f"p{n}" for n in range(5)]
    assert points.upsert(np.array([{"id": "p5", "vector": VECTOR}], dtype=object)).upserted == 1
    found = points.get_many(np.array(["p1", "p3"]))
    assert [(each.id, each.metadata) for each in found] == [("p1", {"n": 1}), ("p3", {"n": 3})]
    assert points.get(np.str_("p2")).metadata == {"n": 2}
    assert points.delete(f"p{n}" for n in range(2)) == 2
    assert points.count() == 4


def test_filters_and_numbers_may_be_of_numpy(points: Any) -> None:
    points.upsert([{"id": f"p{n}", "vector": VECTOR, "metadata": {"n": n}} for n in range(5)])
    chosen = {"n": {"$in": (np.int64(1), np.float32(2.0), 3)}}
    found = points.search(
        VECTOR, filter=chosen, top_k=np.int32(2), score_threshold=np.float32(0.5), include=iter(["metadata"])
    )
    assert [match.metadata for match in found] == [{"n": 1}, {"n": 2}]
    assert points.count(filter={"n": {"$gte": np.float64(3)}}) == 2
    assert points.delete(filter={"n": np.int8(4)}) == 1


def test_endless_iterable_is_refused(points: Any) -> None:
    with pytest.raises(InvalidArgument, match="documents: must contain 1 to 10000"):
        points.upsert(repeat({"vector": [1.0] * DIMENSION}))
    with pytest.raises(InvalidArgument, match="ids: must contain 1 to 10000"):
        points.get_many(repeat("a"))
    assert points.count() == 0


def test_error_of_a_generator_changes_nothing(points: Any) -> None:
    def failing() -> Iterator[dict[str, Any]]:
        yield {"id": "a", "vector": VECTOR}
        raise OSError("the file ended")

    with pytest.raises(OSError, match="the file ended"):
        points.upsert(failing())
    assert points.count() == 0


def test_texts_to_embed_may_be_any_iterable(tmp_path: Path) -> None:
    with akidb.connect(":memory:") as client:
        expected = client.embed(["a", "b"], model="hash").vectors
        given: list[Any] = [iter(["a", "b"]), np.array(["a", "b"]), ("a", "b")]
        for texts in given:
            assert (client.embed(texts, model="hash").vectors == expected).all()
