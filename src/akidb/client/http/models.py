"""Embedding and embedding models over HTTP, through the routes that OpenAI's clients use too."""

# ruff: noqa: D102 - the port says what each method does

from base64 import b64decode
from collections.abc import Sequence
from urllib.parse import quote

import msgspec
import numpy as np

from akidb.client.http.caller import Caller
from akidb.client.http.checks import given
from akidb.domain.errors import NotFound
from akidb.ports.embedding import ModelInfo, Progress
from akidb.ports.operations import EmbeddingResult
from akidb.services.embeddings import check_texts

MODELS = "/v1/models"


class _Vector(msgspec.Struct):
    embedding: str
    token_count: int
    truncated: bool


class _Embeddings(msgspec.Struct):
    model: str
    data: list[_Vector]


class _Models(msgspec.Struct):
    data: list[ModelInfo]


class HttpEmbeddings:
    """`akidb.ports.operations.EmbeddingOperations` of a server."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def embed(self, texts: Sequence[str], *, model: str | None = None) -> EmbeddingResult:
        check_texts(texts)
        fields = {"input": texts, **given({"model": model}), "encoding_format": "base64"}
        answer = self._caller.ask(_Embeddings, "/v1/embeddings", fields)
        vectors = np.frombuffer(b"".join(b64decode(item.embedding) for item in answer.data), "<f4")
        return EmbeddingResult(
            model=answer.model,
            vectors=vectors.astype(np.float32).reshape(len(answer.data), -1),
            token_counts=[item.token_count for item in answer.data],
            truncated=[item.truncated for item in answer.data],
        )


class HttpModels:
    """`akidb.ports.operations.ModelOperations` of a server."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def list(self) -> list[ModelInfo]:
        return self._caller.get(_Models, MODELS).data

    def info(self, name: str) -> ModelInfo:
        return self._caller.get(ModelInfo, _model_path(name))

    def pull(self, name: str, progress: Progress | None = None) -> ModelInfo:
        del progress  # a server answers when it is done
        return self._caller.post(ModelInfo, f"{_model_path(name)}/pull")


def _model_path(name: str) -> str:
    if "/" in name or name in {"", ".", ".."}:  # no name of a model; in a path they would mean another
        raise NotFound("embedding_model", name)
    return f"{MODELS}/{quote(name, safe='')}"
