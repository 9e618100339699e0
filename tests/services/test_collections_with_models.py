"""Collections with an embedding model: their texts and queries are embedded; another model is refused."""

from typing import Any

import pytest

from akidb.domain.errors import NotFound, Unavailable
from akidb.operations.collections import GetCollection
from akidb.operations.documents import CountDocuments, SearchDocuments, UpsertDocuments

from .worlds import World, ids_of, on_files


def test_collection_with_model_embeds_texts(world: World) -> None:
    path = world.place(embedding_model="hash")
    made = world.on(path, GetCollection)
    assert (made.dimension, made.embedding_model) == (64, "hash")
    assert (made.embedding_fingerprint or "").startswith("sha256:")
    texts = ["cats purr softly", "stock markets fell", "dogs bark loudly"]
    world.on(path, UpsertDocuments, documents=[{"id": str(n), "text": text} for n, text in enumerate(texts)])
    assert ids_of(world.on(path, SearchDocuments, text="dogs that bark", top_k=1).matches) == ["2"]
    mixed: list[dict[str, Any]] = [
        {"id": "3", "text": "given", "vector": [1.0] * 64},
        {"id": "4", "text": "cats purr"},
    ]
    world.on(path, UpsertDocuments, documents=mixed)
    assert ids_of(world.on(path, SearchDocuments, text="cats purr", top_k=2).matches) == ["4", "0"]
    assert ids_of(world.on(path, SearchDocuments, vector=[1.0] * 64, top_k=1).matches) == ["3"]


def test_unknown_model_is_not_found(world: World) -> None:
    world.tenant()
    world.database()
    with pytest.raises(NotFound) as caught:
        world.collection(embedding_model="absent")
    assert caught.value.fields == {"entity": "embedding_model", "id": "absent"}


@on_files
def test_model_with_different_fingerprint_is_rejected(world: World) -> None:
    path = world.place(embedding_model="hash")
    world.on(path, UpsertDocuments, documents=[{"id": "a", "text": "x"}])
    world.ops.close()
    world.execute(
        world.directory / "metadata.db", "UPDATE collections SET embedding_fingerprint = 'sha256:00'"
    )
    world.ops = world.connect()
    for refused in (
        lambda: world.on(path, UpsertDocuments, documents=[{"id": "b", "text": "y"}]),
        lambda: world.on(path, SearchDocuments, text="x"),
    ):
        with pytest.raises(Unavailable, match="another fingerprint"):
            refused()
    assert world.on(path, CountDocuments) == 1
    assert len(world.on(path, SearchDocuments, vector=[1.0] * 64).matches) == 1
