"""Encodes requests as queries and bodies, and decodes arrays in responses."""

from base64 import b64decode
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec
import numpy as np
from msgspec import UNSET

from akidb.client.http.vectors import sendable, sendable_rows
from akidb.domain.batches import check_changes, check_fields
from akidb.domain.documents import DocumentLike, UpsertMode
from akidb.domain.embedding import EmbeddingResult, ModelInfo
from akidb.domain.errors import NotFound
from akidb.operations.declare import Operation, Request

__all__ = ["Embeddings", "ModelInfo", "body_of", "model_path", "query_of", "with_arrays"]


def body_of(row: Operation, request: Request[Any]) -> dict[str, object] | None:
    """Return the members of a JSON body, or None for no body.

    None is sent where it differs from an absent field.
    """
    is_patch = row.method == "PATCH"
    said = {
        name: value
        for name, value in row.given(request).items()
        if value is not None or row.defaults.get(name) is UNSET
    }
    if "documents" in said:
        said["documents"] = _documents(said["documents"], said.get("mode"))
    if "vector" in said:
        said["vector"] = sendable(said["vector"], "vector")
    if "vectors" in said:
        vectors = said["vectors"]
        said["vectors"] = sendable_rows(list(vectors), [f"vectors[{place}]" for place in range(len(vectors))])
    return said if said or is_patch else None


def query_of(row: Operation, request: Request[Any]) -> dict[str, object]:
    """Return the query parameters that differ from their defaults."""
    said = row.given(request)
    return {name: _parameter(value) for name, value in said.items() if value != row.defaults[name]}


def _parameter(value: Any) -> Any:
    if isinstance(value, frozenset):
        return ",".join(sorted(value))
    if isinstance(value, msgspec.Raw):  # a filter
        return bytes(value).decode()
    return f"{value:.18f}" if isinstance(value, float) else value


def _documents(documents: Sequence[DocumentLike], mode: object) -> list[dict[str, object]]:
    """Return documents as JSON objects. Validates values that JSON cannot represent."""
    check = check_changes if mode is UpsertMode.UPDATE else check_fields
    fields: list[dict[str, object]] = []
    vectors: dict[int, object] = {}
    for place, document in enumerate(documents):
        id, text, vector, metadata = check(document, place)
        given = {"id": id, "text": text, "metadata": None if metadata is None else msgspec.Raw(metadata)}
        fields.append({name: value for name, value in given.items() if value is not None})
        if vector is not None:
            vectors[place] = vector
    names = [f"documents[{place}].vector" for place in vectors]
    for place, numbers in zip(vectors, sendable_rows(list(vectors.values()), names), strict=True):
        fields[place]["vector"] = numbers
    return fields


def with_arrays(answer: Any) -> Any:
    """Return the response with the vectors of its documents as float32 arrays instead of lists."""
    if isinstance(answer, list):
        return [with_arrays(item) if hasattr(item, "matches") else _with_array(item) for item in answer]
    for name in ("matches", "items", "changes"):
        if hasattr(answer, name):
            return msgspec.structs.replace(answer, **{name: with_arrays(getattr(answer, name))})
    return answer


def _with_array(item: Any) -> Any:
    if item.vector is None:
        return item
    return msgspec.structs.replace(item, vector=np.array(item.vector, np.float32))


class _Vector(msgspec.Struct):
    embedding: str
    token_count: int
    truncated: bool


class Embeddings(msgspec.Struct):
    """The response of the OpenAI-compatible route, with vectors as base64 of little-endian float32."""

    model: str
    data: list[_Vector]

    def result(self) -> EmbeddingResult:
        """Convert it to AkiDB's own result type."""
        vectors = np.frombuffer(b"".join(b64decode(item.embedding) for item in self.data), "<f4")
        return EmbeddingResult(
            model=self.model,
            vectors=vectors.astype(np.float32).reshape(len(self.data), -1),
            token_counts=[item.token_count for item in self.data],
            truncated=[item.truncated for item in self.data],
        )


def model_path(name: str) -> str:
    """Return the path of a model. Raises NotFound for a name that would change the path."""
    if "/" in name or name in {"", ".", ".."}:
        raise NotFound("embedding_model", name)
    return f"/v1/models/{quote(name, safe='')}"
