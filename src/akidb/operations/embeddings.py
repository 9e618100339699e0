"""Embedding of texts, and the embedding models of the machine that runs AkiDB.

Their routes follow OpenAI's API and are implemented in `akidb.api.openai`.
"""

from akidb.domain.embedding import EmbeddingResult, ModelInfo
from akidb.domain.errors import NotFound
from akidb.domain.fields import Model, Texts
from akidb.operations.declare import Request, Work, operation


@operation("embedding.create", "POST", "/v1/embeddings", changes=False, work=Work.SLOW, raises=(NotFound,))
class EmbedTexts(Request[EmbeddingResult], kw_only=True, frozen=True):
    """Embed up to 2,048 texts with a model, by default the one in the setting `default_model`."""

    texts: Texts
    model: Model | None = None


@operation("model.list", "GET", "/v1/models")
class ListModels(Request[list[ModelInfo]], kw_only=True, frozen=True):
    """List all known embedding models, installed or not."""


@operation("model.get", "GET", "/v1/models/{model}")
class GetModel(Request[ModelInfo], kw_only=True, frozen=True):
    """Get an embedding model."""

    model: Model


@operation("model.pull", "POST", "/v1/models/{model}/pull", audited=False, grows=False)
class PullModel(Request[ModelInfo], kw_only=True, frozen=True):
    """Download an embedding model and verify its hash, unless it is already installed."""

    model: Model
