"""Model fingerprints: what they depend on, and the fixed values of released models."""

from typing import Any

import msgspec
import pytest

from akidb.embedding.catalog import CATALOG

MINILM = CATALOG["all-minilm-l6-v2"]


def test_fingerprints_of_released_models_are_fixed() -> None:
    # Collections store them: a change here makes every vector of theirs foreign.
    assert {name: model.fingerprint for name, model in CATALOG.items()} == {
        "all-minilm-l6-v2": "sha256:531e85e49545de35955d179a1bcce7d1",
        "hash": "sha256:df41e5c3fefc4e7d01d7d62558710daf",
    }


@pytest.mark.parametrize(
    "change",
    [
        {"weights": "0" * 64},
        {"tokenizer": "0" * 64},
        {"pooling": "cls"},
        {"prompts": {"document": "", "query": "query: "}},
        {"precision": "bfloat16"},
        {"dimension": 256},
        {"max_tokens": 512},
    ],
    ids=lambda change: next(iter(change)),
)
def test_fingerprint_changes_with_fields_that_affect_vectors(change: dict[str, Any]) -> None:
    assert msgspec.structs.replace(MINILM, **change).fingerprint != MINILM.fingerprint


def test_fingerprint_ignores_fields_that_do_not_affect_vectors() -> None:
    moved = msgspec.structs.replace(MINILM, name="other", wheel=None, files=())
    assert moved.fingerprint == MINILM.fingerprint
