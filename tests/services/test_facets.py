"""Facets: the values of a field with their numbers of documents."""

from typing import Any

import msgspec
import pytest

from akidb.domain import facets
from akidb.domain.errors import InvalidArgument, OperationTimeout
from akidb.domain.facets import Facet
from akidb.domain.fields import CollectionPath
from akidb.operations import documents as ask

from .worlds import GOOD, World


def fill(world: World, path: CollectionPath, *rows: dict[str, Any]) -> None:
    documents = [{"id": f"d{at}", "vector": GOOD, "metadata": row} for at, row in enumerate(rows)]
    world.on(path, ask.UpsertDocuments, documents=documents)


def counted(world: World, path: CollectionPath, field: str, **asked: Any) -> list[tuple[Any, int]]:
    found = world.on(path, ask.GetFacets, field=field, **asked)
    return [(facet.value, facet.count) for facet in found.values]


def test_most_frequent_values_come_first_and_equal_counts_by_value(
    world: World, path: CollectionPath
) -> None:
    fill(
        world,
        path,
        *({"v": value} for value in ["b", "b", "a", 2, 2.0, True, 1, None, [], {}, {"x": 1}, -0.5]),
        {},
    )
    expected = [(2, 2), ("b", 2), (None, 1), (True, 1), (-0.5, 1), (1, 1), ("a", 1)]
    assert repr(counted(world, path, "v")) == repr(expected)


def test_document_counts_once_for_each_distinct_value(world: World, path: CollectionPath) -> None:
    fill(
        world,
        path,
        {"tags": ["x", "x", "y", ["z"]], "parts": [{"n": 1}, {"n": [1.0, 2]}]},
        {"tags": "x", "parts": {"n": 2}},
        {"parts.n": 3, "parts": {"n": 1}},
    )
    assert counted(world, path, "tags") == [("x", 2), ("y", 1)]
    assert counted(world, path, "parts.n") == [(2, 2), (1, 1), (3, 1)]


def test_filter_and_limit(world: World, path: CollectionPath) -> None:
    fill(world, path, *({"n": n % 5, "even": n % 2 == 0} for n in range(20)))
    assert counted(world, path, "n", filter={"even": True, "n": {"$lt": 2}}) == [(0, 2), (1, 2)]
    found = world.on(path, ask.GetFacets, field="n", limit=2)
    assert found.values == [Facet(value=0, count=4), Facet(value=1, count=4)]
    assert found.distinct == 5


def test_count_of_a_value_is_that_of_its_filter(world: World, path: CollectionPath) -> None:
    values = ["a", "ä" * 300, 2**53 + 1, 2.0**53, 1e300, False, None, ["a", 0], 0.0]
    fill(world, path, *({"v": value} for value in values))
    found = counted(world, path, "v")
    assert len(found) == 8
    for value, count in found:
        assert world.on(path, ask.CountDocuments, filter={"v": value}) == count


def test_collection_without_documents_has_no_values(world: World, path: CollectionPath) -> None:
    found = world.on(path, ask.GetFacets, field="v")
    assert (found.values, found.distinct) == ([], 0)


@pytest.mark.parametrize("field", ["", "$id", "$text", "$x", "a\0", "\ud800", "x" * 513, 7, None])
def test_invalid_field_is_rejected(world: World, path: CollectionPath, field: Any) -> None:
    with pytest.raises(InvalidArgument) as caught:
        world.on(path, ask.GetFacets, field=field)
    assert caught.value.field == "field"


def test_memory_for_distinct_values_is_limited(
    world: World, path: CollectionPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facets, "MAX_COUNTED_BYTES", 1000)
    fill(world, path, *({"n": n, "long": f"{n}" * 500, "few": n % 2} for n in range(8)))
    assert len(counted(world, path, "few")) == 2
    for field in ("n", "long"):
        with pytest.raises(InvalidArgument, match="too many distinct values") as caught:
            world.on(path, ask.GetFacets, field=field)
        assert caught.value.field == "field"
    assert len(counted(world, path, "n", filter={"n": {"$lt": 3}})) == 3


@pytest.mark.parametrize("filter", [None, {"n": 1}])
def test_time_is_limited(world: World, path: CollectionPath, filter: Any) -> None:
    fill(world, path, {"n": 1})
    world.settings = msgspec.structs.replace(world.settings, filter_timeout_seconds=1e-9)
    world.reopen()
    with pytest.raises(OperationTimeout):
        world.on(path, ask.GetFacets, field="n", filter=filter)


def test_answer_is_limited(world: World, path: CollectionPath) -> None:
    fill(world, path, *({"v": f"{n}" * 1000} for n in range(4)))
    world.settings = msgspec.structs.replace(world.settings, max_answer_bytes=2500)
    world.reopen()
    assert len(counted(world, path, "v", limit=2)) == 2
    with pytest.raises(InvalidArgument, match="2500 bytes") as caught:
        world.on(path, ask.GetFacets, field="v")
    assert caught.value.field == "limit"
