"""The hash embedder for tests: similarity by shared words, same vectors in every process."""

import hashlib

import numpy as np
import pytest

from akidb.embedding.catalog import CATALOG
from akidb.embedding.hash_embedder import HashEmbedder


@pytest.fixture
def embedder() -> HashEmbedder:
    return HashEmbedder(CATALOG["hash"])


def test_texts_sharing_words_are_more_similar(embedder: HashEmbedder) -> None:
    cat, same, near, far = embedder.embed(
        ["the cat sat on the mat", "The CAT sat, on the mat!", "a cat lay on the mat", "stock prices fell"]
    ).vectors
    np.testing.assert_array_equal(cat, same)
    assert cat @ near > 0.4 > cat @ far


def test_vectors_are_reproducible(embedder: HashEmbedder) -> None:
    vectors = embedder.embed(["", "a few words"]).vectors
    assert hashlib.sha256(np.round(vectors, 4).astype("<f4").tobytes()).hexdigest()[:12] == "5c46f7d84bed"


def test_text_is_truncated_to_max_tokens(embedder: HashEmbedder) -> None:
    fits = "word " * (embedder.max_tokens - 1)
    answer = embedder.embed([fits, fits + "tail"])
    assert list(answer.token_counts) == [256, 256]
    assert list(answer.truncated) == [False, True]
    np.testing.assert_array_equal(*answer.vectors)
