"""Texts longer than the embedding model accepts are reported where they are stored and searched."""

from typing import Any

import pytest

from akidb.domain.fields import CollectionPath
from akidb.operations import documents as ask
from akidb.operations.tenants import GetTenant

from .reaching import store_rows
from .worlds import World, keyed

LONG, SHORT = "word " * 300, "word"


@pytest.fixture
def path(world: World) -> CollectionPath:
    """A collection that embeds up to 256 tokens."""
    return world.place(embedding_model="hash")


def test_truncated_documents_are_reported_by_id(world: World, path: CollectionPath) -> None:
    documents: list[dict[str, Any]] = [
        {"id": "short", "text": SHORT},
        {"id": "long", "text": LONG},
        {"id": "vector", "text": LONG, "vector": [1.0] * 64},
        {"text": LONG},
    ]
    result = world.on(path, ask.UpsertDocuments, documents=documents)
    assert (result.truncated, result.truncated_ids) == (2, ["long", result.ids[3]])
    assert world.on(path, ask.GetDocuments, ids=["long"])[0].text == LONG
    result = world.on(path, ask.UpsertDocuments, documents=documents[:1])
    assert (result.truncated, result.truncated_ids) == (0, [])


def test_repeated_request_reports_the_same_documents(world: World, path: CollectionPath) -> None:
    documents: list[dict[str, Any]] = [{"text": SHORT}, *({"text": LONG} for _ in range(150))]
    documents[7] = {"id": "given", "text": LONG}
    with keyed(idempotency_key="k"):
        first = world.on(path, ask.UpsertDocuments, documents=documents)
    assert first.truncated == 150
    assert first.truncated_ids == first.ids[1:101]
    tenant = world.ops.perform(GetTenant(tenant=path.tenant))
    stored = [value for row in store_rows(world, tenant.tenant_id, "remembered_answers") for value in row]
    assert max(len(value) for value in stored if isinstance(value, bytes)) < 16 * 151 + 256
    world.reopen()
    with keyed(idempotency_key="k"):
        assert world.on(path, ask.UpsertDocuments, documents=documents) == first
    assert world.on(path, ask.CountDocuments) == 151


def test_truncated_query_is_reported_in_the_statistics(world: World, path: CollectionPath) -> None:
    world.on(path, ask.UpsertDocuments, documents=[{"id": "a", "text": SHORT}])
    for text, truncated in ((LONG, True), (SHORT, False)):
        found = world.on(path, ask.SearchDocuments, text=text)
        assert found.statistics.query_truncated is truncated
        assert [match.id for match in found.matches] == ["a"]
