"""Descriptions of embedding models, and vectors of texts that are not stored."""

from collections.abc import Sequence

import msgspec

from akidb.domain.documents import MAX_TEXT_BYTES, Vector
from akidb.domain.errors import InvalidArgument
from akidb.domain.names import check_text
from akidb.domain.plain import listed

MAX_TEXTS = 2_048
MAX_MODEL_BYTES = 1_024


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The properties of a model that are known without loading it."""

    name: str
    embedder: str
    """The runtime that serves it: `onnx` or `hash`."""
    dimension: int
    max_tokens: int
    fingerprint: str
    installed: bool
    """Whether its files are on this machine, so that it can be loaded offline."""
    size_bytes: int
    """Size of its files as downloaded, as far as known (0 for `hash`)."""
    license: str
    path: str | None
    """The path of its files, None if not installed."""


class EmbeddingResult(msgspec.Struct, kw_only=True, frozen=True, eq=False):
    """Vectors of texts, in their order."""

    model: str
    vectors: Vector
    """Shape `(n, dimension)`."""
    token_counts: list[int]
    truncated: list[bool]


def check_texts(texts: object, field: str = "texts") -> Sequence[str]:
    """Check a list of 1 to 2,048 texts."""
    given = listed(texts, field, "texts", MAX_TEXTS)
    if not 1 <= len(given) <= MAX_TEXTS:
        raise InvalidArgument(field, f"must contain 1 to {MAX_TEXTS} texts")
    return [
        check_text(text, f"{field}[{place}]", maximum_bytes=MAX_TEXT_BYTES)
        for place, text in enumerate(given)
    ]


def check_model(value: object, field: str) -> str:
    """Check that a model's name is short text; whether the model exists is checked where the models are."""
    if not isinstance(value, str):
        raise InvalidArgument(field, "must be the name of a model")
    return check_text(value, field, maximum_bytes=MAX_MODEL_BYTES)
