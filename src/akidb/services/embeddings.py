"""Text embedding for documents, searches and `embed`, and the models installed on this machine."""

from collections.abc import Sequence

from akidb.domain.embedding import EmbeddingResult, ModelInfo
from akidb.domain.entities import Collection
from akidb.domain.errors import Unavailable
from akidb.domain.migration import Progress
from akidb.observe.interrupts import Interruptible
from akidb.operations import embeddings as ask
from akidb.ports.embedding import Embedding, EmbeddingModels, Purpose
from akidb.services.dispatch import handles


class EmbeddingService:
    """Implements `akidb.operations.embeddings`."""

    def __init__(self, models: EmbeddingModels, default_model: str) -> None:
        self._models = models
        self._default_model = default_model

    @handles(ask.EmbedTexts)
    def embed(self, asked: ask.EmbedTexts) -> EmbeddingResult:
        with Interruptible():
            embedder = self._models.load(asked.model or self._default_model)
            found = embedder.embed(asked.texts)
        return EmbeddingResult(
            model=embedder.model,
            vectors=found.vectors,
            token_counts=list(found.token_counts),
            truncated=list(found.truncated),
        )

    @handles(ask.ListModels)
    def list(self, asked: ask.ListModels) -> list[ModelInfo]:  # noqa: ARG002 - the request has no fields
        return self._models.list()

    @handles(ask.GetModel)
    def get(self, asked: ask.GetModel) -> ModelInfo:
        return self._models.info(asked.model)

    @handles(ask.PullModel)
    def pull(self, asked: ask.PullModel, *, progress: Progress | None = None) -> ModelInfo:
        with Interruptible():
            return self._models.pull(asked.model, progress)

    def embed_for(self, collection: Collection, texts: Sequence[str], purpose: Purpose) -> Embedding:
        """Embed with the collection's model.

        Raises Unavailable when the installed model would compute other vectors than the stored ones.
        """
        assert collection.embedding_model is not None
        with Interruptible():
            embedder = self._models.load(collection.embedding_model)
        if embedder.fingerprint != collection.embedding_fingerprint:
            raise Unavailable(
                f"the collection uses {collection.embedding_model} with another fingerprint"
                f" ({collection.embedding_fingerprint}, installed: {embedder.fingerprint})"
            )
        with Interruptible():
            return embedder.embed(texts, purpose)
