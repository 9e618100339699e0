"""`LocalModels` on a tiny model: listing, loading, validation and repair."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from akidb.domain.errors import InvalidArgument, NotFound, Unavailable
from akidb.embedding import LocalModels, bert_graph
from akidb.embedding.catalog import CATALOG, ModelSpec
from embedding.tiny_model import MAX_TOKENS, NAME, make


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


@pytest.fixture
def spec(files: Path) -> ModelSpec:
    return make(files)


@pytest.fixture
def models(tmp_path: Path, files: Path, spec: ModelSpec) -> LocalModels:
    return LocalModels(tmp_path / "models", source=files, threads=1, catalog={NAME: spec})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models" / NAME


def test_catalog_is_listed_by_name_without_files(tmp_path: Path) -> None:
    models = LocalModels(tmp_path / "absent")
    assert [info.name for info in models.list()] == sorted(CATALOG)
    info = models.info("all-minilm-l6-v2")
    assert (info.dimension, info.max_tokens, info.license) == (384, 256, "Apache-2.0")
    assert (info.installed, info.path, info.size_bytes) == (False, None, 91_347_021)
    assert not (tmp_path / "absent").exists()


def test_hash_model_needs_no_installation(tmp_path: Path) -> None:
    models = LocalModels(tmp_path / "absent")
    assert models.pull("hash").installed
    assert models.load("hash").model == "hash"
    assert not (tmp_path / "absent").exists()


@pytest.mark.parametrize("operation", ["info", "load", "pull"])
def test_unknown_model_is_not_found(models: LocalModels, operation: str) -> None:
    with pytest.raises(NotFound) as caught:
        getattr(models, operation)("absent")
    assert caught.value.fields == {"entity": "embedding_model", "id": "absent"}


def test_missing_model_is_unavailable_and_message_names_pull_command(models: LocalModels) -> None:
    with pytest.raises(Unavailable, match=r"tiny is not installed.*akidb model pull tiny"):
        models.load(NAME)


def test_file_with_wrong_hash_is_refused_and_pulled_again(
    models: LocalModels, folder: Path, spec: ModelSpec
) -> None:
    models.pull(NAME)
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(Unavailable) as caught:
        models.load(NAME)
    for part in (str(weights), spec.weights[:12], "akidb model pull tiny"):
        assert part in caught.value.message
    models.pull(NAME)
    assert models.load(NAME).fingerprint == spec.fingerprint


def test_model_is_loaded_once_across_threads(models: LocalModels) -> None:
    models.pull(NAME)
    start = threading.Barrier(4)

    def load(_: int) -> int:
        start.wait()
        return id(models.load(NAME))

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(load, range(4)))) == 1


@pytest.mark.parametrize("damage", [b"", b"not a graph"])
def test_damaged_graph_is_rebuilt(models: LocalModels, folder: Path, damage: bytes) -> None:
    models.pull(NAME)
    (graph,) = folder.glob("graph-*.onnx")
    sound = graph.read_bytes()
    graph.write_bytes(damage)
    models.load(NAME)
    assert graph.read_bytes() == sound


def test_missing_graph_or_digest_is_rebuilt(models: LocalModels, folder: Path) -> None:
    models.pull(NAME)
    before = {path.name for path in folder.iterdir()}
    for path in folder.glob("graph-*"):
        path.unlink()
    models.load(NAME)
    assert {path.name for path in folder.iterdir()} == before


def test_graph_build_refuses_weights_other_than_float32(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    names = ("token_type_embeddings", "position_embeddings", "word_embeddings")
    halves = {f"embeddings.{name}.weight": np.zeros((2, 8), np.float16) for name in names}
    save_file(halves, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match="is F16, not F32"):
        bert_graph.build(tmp_path / "model.safetensors", {"layer_norm_eps": 1e-12, "num_hidden_layers": 0})


def test_text_is_truncated_to_model_limit_not_tokenizer_limit(
    models: LocalModels,
) -> None:
    models.pull(NAME)
    embedder = models.load(NAME)
    fits = "one two three one two three"
    answer = embedder.embed(["", "one", fits, fits + " one", fits + " two two"])
    assert embedder.max_tokens == MAX_TOKENS
    assert list(answer.token_counts) == [2, 3, 8, 8, 8]
    assert list(answer.truncated) == [False, False, False, True, True]
    np.testing.assert_allclose(answer.vectors[3], answer.vectors[2], atol=1e-6)
    np.testing.assert_allclose(answer.vectors[4], answer.vectors[2], atol=1e-6)


@pytest.mark.parametrize("name", ["hash", NAME])
def test_invalid_texts_are_refused(tmp_path: Path, files: Path, spec: ModelSpec, name: str) -> None:
    models = LocalModels(tmp_path / "models", source=files, catalog={**CATALOG, NAME: spec})
    models.pull(name)
    embedder = models.load(name)
    with pytest.raises(InvalidArgument, match=r"texts\[1\]"):
        embedder.embed(["fine", "\ud800"])
    with pytest.raises(InvalidArgument, match="not one string"):
        embedder.embed("text")


def test_importing_embedding_does_not_load_runtime() -> None:
    code = (
        "import sys, akidb.embedding;"
        "print(sorted({'onnx', 'onnxruntime', 'tokenizers', 'safetensors'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
