"""Text embedding in process, and the installed models."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from akidb.domain.errors import InvalidArgument, NotFound, Unavailable
from akidb.operations.embeddings import EmbedTexts, GetModel, ListModels, PullModel

from .worlds import World


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "data"


def test_texts_are_embedded_with_default_or_named_model(world: World) -> None:
    found = world.ops.perform(EmbedTexts(texts=["cats purr", "", "cats purr"]))
    named = world.ops.perform(EmbedTexts(texts=["cats purr"], model="hash"))
    assert found.model == named.model == "hash"
    assert found.vectors.shape == (3, 64)
    assert np.array_equal(found.vectors[0], found.vectors[2])
    assert np.array_equal(found.vectors[0], named.vectors[0])
    assert (found.token_counts, found.truncated) == ([3, 1, 3], [False, False, False])


def test_truncated_text_is_reported(world: World) -> None:
    found = world.ops.perform(EmbedTexts(texts=["word " * 300, "word"]))
    assert found.truncated == [True, False]
    assert found.token_counts == [256, 2]


@pytest.mark.parametrize(
    ("texts", "field"),
    [
        ("x", "texts"),
        (None, "texts"),
        ([], "texts"),
        (["x"] * 2049, "texts"),
        (["x", 7], "texts[1]"),
        (["x", "a\0"], "texts[1]"),
        (["x", "\ud800"], "texts[1]"),
        (["x" * (2**20 + 1)], "texts[0]"),
    ],
)
def test_invalid_texts_are_rejected(world: World, texts: Any, field: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        world.ops.perform(EmbedTexts(texts=texts))
    assert caught.value.field == field


def test_maximum_number_of_texts_is_embedded(world: World) -> None:
    assert len(world.ops.perform(EmbedTexts(texts=["x"] * 2048)).vectors) == 2048


def test_unknown_model_is_not_found(world: World) -> None:
    with pytest.raises(NotFound):
        world.ops.perform(EmbedTexts(texts=["x"], model="absent"))
    with pytest.raises(NotFound):
        world.ops.perform(GetModel(model="absent"))


def test_error_for_uninstalled_model_says_how_to_install_it(world: World) -> None:
    with pytest.raises(Unavailable, match="akidb model pull all-minilm-l6-v2"):
        world.ops.perform(EmbedTexts(texts=["x"], model="all-minilm-l6-v2"))


def test_installed_models_are_listed(world: World) -> None:
    listed = {model.name: model.installed for model in world.ops.perform(ListModels())}
    assert listed == {"all-minilm-l6-v2": False, "hash": True}
    assert world.ops.perform(PullModel(model="hash")) == world.ops.perform(GetModel(model="hash"))
