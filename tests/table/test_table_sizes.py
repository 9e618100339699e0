"""The largest legal value of every field that may be large passes through every deployment."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from stage import DIMENSION, ROWS, every_deployment, request_of

from akidb.domain.documents import MAX_BATCH_DOCUMENTS
from akidb.domain.errors import InvalidArgument
from akidb.operations import Operation, Operations
from akidb.ports import wire
from postgres import Server

IDS = [f"{number:05}{'é' * 48}" for number in range(MAX_BATCH_DOCUMENTS)]
CANDIDATES: tuple[Any, ...] = (
    # From the largest to the smallest; the first that a field permits is its largest value.
    {"$id": {"$in": [*IDS[3:], "d1", "d2", "d3"]}},
    [*IDS[3:], "d1", "d2", "d3"],
    [{"id": f"{id}", "vector": [1.0] * DIMENSION} for id in IDS[:2000]],
    {"n": 1, "large": "é" * 500_000},
    "é" * 2**19,
    ["é" * 2**19] * 3,
    "é" * 2**11,
)
LARGE_BYTES = 2_000
FIELDS = [
    (row, name) for row in ROWS if not row.local for name in (*row.said, *row.places) if name in row.fields
]


def _largest(row: Operation, name: str) -> Any:
    """The largest value that the field permits in process, or None if it permits no large one."""
    for value in CANDIDATES:
        try:
            row.checked(_request(row, name, value))
        except InvalidArgument:
            continue
        return value
    return None


def _request(row: Operation, name: str, value: Any) -> Any:
    others = {each: None for each in row.one_of or () if name in row.one_of and each != name}  # type: ignore[operator]
    return request_of(row, **{**others, name: value})


LARGE = [(row, name) for row, name in FIELDS if _largest(row, name) is not None]


@pytest.fixture(scope="module")
def deployments(
    tmp_path_factory: pytest.TempPathFactory, postgres_server: Server
) -> Iterator[dict[str, Operations]]:
    with every_deployment(tmp_path_factory, postgres_server) as found:
        yield found


def test_large_values_are_tried_where_they_are_expected() -> None:
    assert {(row.name, name) for row, name in LARGE} >= {
        ("document.scan", "filter"),
        ("document.count", "filter"),
        ("document.facets", "filter"),
        ("document.get", "ids"),
        ("document.delete", "ids"),
        ("document.delete", "filter"),
        ("document.update", "ids"),
        ("document.update", "filter"),
        ("document.update", "metadata"),
        ("document.search", "filter"),
        ("document.search", "text"),
        ("document.upsert", "documents"),
        ("embedding.create", "texts"),
        ("tenant.create", "metadata"),
    }


def test_every_get_with_a_large_field_also_has_a_post() -> None:
    in_url = {row.name for row, _ in LARGE if not row.in_body and row.takes == "json"}
    assert in_url == {row.name for row in ROWS if row.body_path}


@pytest.mark.parametrize(("row", "name"), LARGE, ids=[f"{row.name}-{name}" for row, name in LARGE])
def test_largest_value_has_same_result_in_every_deployment(
    row: Operation, name: str, deployments: dict[str, Operations]
) -> None:
    results = {}
    for deployment, operations in deployments.items():
        request = _request(row, name, _largest(row, name))
        try:
            results[deployment] = _plain(operations.perform(request))
        except Exception as error:  # noqa: BLE001 - compared below
            results[deployment] = f"{type(error).__name__}: {error}"
    assert results == dict.fromkeys(results, results["directory"])


def _plain(answer: Any) -> Any:
    """The parts of an answer that are the same everywhere."""
    return _plain_json(msgspec.json.decode(wire.encode(answer)))


def _plain_json(given: Any) -> Any:
    if isinstance(given, list):  # of documents, or of the results of a batch
        return [each["matches"] if isinstance(each, dict) and "matches" in each else each for each in given]
    if isinstance(given, dict):
        return {
            key: value
            for key, value in given.items()
            if key in {"items", "matches", "ids", "upserted", "name"}
        }
    return given
