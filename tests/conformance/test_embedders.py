"""The contract of every embedder, and all-MiniLM-L6-v2 compared with sentence-transformers."""

import gc
import json
import os
import random
import select
import signal
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from akidb import settings
from akidb.embedding import LocalModels
from akidb.embedding.catalog import CATALOG
from akidb.ports.embedding import Embedder, Embedding, EmbeddingModels, Purpose

DATA = Path(__file__).parents[1] / "data"
TEXTS: list[str] = json.loads((DATA / "minilm_texts.json").read_bytes())
TOLERANCE = 2e-6


@pytest.fixture(scope="session")
def models() -> EmbeddingModels:
    configured = settings.load()
    source = configured.model_source
    return LocalModels(configured.models_path, source=Path(source) if source else None)


@pytest.fixture(scope="session", params=sorted(CATALOG))
def embedder(request: pytest.FixtureRequest, models: EmbeddingModels) -> Embedder:
    models.pull(request.param)
    return models.load(request.param)


@pytest.fixture(scope="session")
def together(embedder: Embedder) -> Embedding:
    return embedder.embed(TEXTS)


def assert_close(actual: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    np.testing.assert_allclose(actual, expected, rtol=0, atol=TOLERANCE)


def test_embedder_matches_catalog(embedder: Embedder, models: EmbeddingModels) -> None:
    info = models.info(embedder.model)
    assert info.installed
    assert (embedder.model, embedder.dimension) == (info.name, info.dimension)
    assert (embedder.max_tokens, embedder.fingerprint) == (info.max_tokens, info.fingerprint)
    assert models.load(embedder.model) is embedder


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_forked_child_can_let_go_of_loaded_model(models: EmbeddingModels) -> None:
    """The destructor of a session waits for its threads, which a forked child does not have."""
    models.pull("all-minilm-l6-v2")
    configured = settings.load()
    source = configured.model_source
    held = [LocalModels(configured.models_path, source=Path(source) if source else None, threads=2)]
    held[0].load("all-minilm-l6-v2").embed(TEXTS)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            held.clear()
            gc.collect()
            os.write(writing, b"done")
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        ready, _, _ = select.select([pipe], [], [], 30)
        if not ready:
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert pipe.read() == b"done"


def test_each_text_gets_vector_of_norm_1(embedder: Embedder, together: Embedding) -> None:
    vectors = together.vectors
    assert vectors.shape == (len(TEXTS), embedder.dimension)
    assert vectors.dtype == np.float32
    assert vectors.flags.c_contiguous
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=0, atol=1e-6)


def test_tokens_are_counted_and_truncation_is_reported(embedder: Embedder, together: Embedding) -> None:
    assert len(together.token_counts) == len(together.truncated) == len(TEXTS)
    assert all(1 <= count <= embedder.max_tokens for count in together.token_counts)
    for count, truncated in zip(together.token_counts, together.truncated, strict=True):
        assert not truncated or count == embedder.max_tokens
    assert any(together.truncated)
    assert not all(together.truncated)


def test_empty_input_gives_no_vectors(embedder: Embedder) -> None:
    answer = embedder.embed([])
    assert answer.vectors.shape == (0, embedder.dimension)
    assert answer.vectors.dtype == np.float32
    assert list(answer.token_counts) == list(answer.truncated) == []


def test_same_texts_give_identical_bytes(embedder: Embedder, together: Embedding) -> None:
    assert embedder.embed(TEXTS).vectors.tobytes() == together.vectors.tobytes()


def test_vector_is_independent_of_order_and_batch(embedder: Embedder, together: Embedding) -> None:
    order = list(range(len(TEXTS)))
    random.Random(3).shuffle(order)
    shuffled = embedder.embed([TEXTS[index] for index in order])
    assert_close(shuffled.vectors, together.vectors[order])
    alone = np.concatenate([embedder.embed([text]).vectors for text in TEXTS])
    assert_close(alone, together.vectors)


def test_every_purpose_is_accepted(embedder: Embedder, together: Embedding) -> None:
    for purpose in get_args(Purpose):
        # None of these models has prompts, so a query is embedded as a document is.
        assert_close(embedder.embed(TEXTS[-9:], purpose).vectors, together.vectors[-9:])


def test_embedder_is_thread_safe(embedder: Embedder, together: Embedding) -> None:
    def embed(start: int) -> NDArray[np.float32]:
        return embedder.embed(TEXTS[start : start + 20]).vectors

    starts = [0, 10, 20, 30, 40, 0, 20, 40]
    with ThreadPoolExecutor(4) as pool:
        for start, vectors in zip(starts, pool.map(embed, starts), strict=True):
            assert_close(vectors, together.vectors[start : start + 20])


@pytest.fixture(scope="session")
def reference() -> tuple[NDArray[np.float32], Sequence[int]]:
    """Reference vectors made with sentence-transformers by `tools/make_reference_vectors.py`."""
    with np.load(DATA / "minilm_reference.npz") as stored:
        return stored["vectors"], [int(count) for count in stored["token_counts"]]


@pytest.mark.parametrize("composition", ["alone", "shuffled", "together"])
def test_minilm_matches_sentence_transformers(
    models: EmbeddingModels, reference: tuple[NDArray[np.float32], Sequence[int]], composition: str
) -> None:
    models.pull("all-minilm-l6-v2")
    embedder = models.load("all-minilm-l6-v2")
    vectors, counts = reference
    order = list(range(len(TEXTS)))
    if composition == "shuffled":
        random.Random(5).shuffle(order)
    calls = [[index] for index in order] if composition == "alone" else [order]
    for call in calls:
        answer = embedder.embed([TEXTS[index] for index in call])
        assert_close(answer.vectors, vectors[call])
        assert list(answer.token_counts) == [counts[index] for index in call]
