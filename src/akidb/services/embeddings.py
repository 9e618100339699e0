"""Embedding of texts, for documents, for questions and for `embed`, and the models of this machine."""

from collections.abc import Sequence

from akidb.domain.documents import MAX_TEXT_BYTES
from akidb.domain.entities import Collection
from akidb.domain.errors import InvalidArgument, Unavailable
from akidb.domain.names import check_text
from akidb.ports.embedding import Embedding, EmbeddingModels, ModelInfo, Progress, Purpose
from akidb.ports.operations import EmbeddingResult
from akidb.services.admission import Admission, operation

MAX_TEXTS = 2_048


def check_texts(texts: object) -> None:
    """Refuse what is no list of 1 to 2,048 texts."""
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise InvalidArgument("texts", "must be a list of texts")
    if not 1 <= len(texts) <= MAX_TEXTS:
        raise InvalidArgument("texts", f"must hold 1 to {MAX_TEXTS} texts")
    for place, text in enumerate(texts):
        check_text(text, f"texts[{place}]", maximum_bytes=MAX_TEXT_BYTES)


class EmbeddingService:
    """`akidb.ports.operations.EmbeddingOperations` in process."""

    def __init__(self, admission: Admission, models: EmbeddingModels, default_model: str) -> None:
        self.admission = admission
        self._models = models
        self._default_model = default_model

    @operation
    def embed(self, texts: Sequence[str], *, model: str | None = None) -> EmbeddingResult:
        """Embed texts with a model, or with the default one."""
        check_texts(texts)
        embedder = self._models.load(model or self._default_model)
        found = embedder.embed(texts)
        return EmbeddingResult(
            model=embedder.model,
            vectors=found.vectors,
            token_counts=list(found.token_counts),
            truncated=list(found.truncated),
        )

    def embed_for(self, collection: Collection, texts: Sequence[str], purpose: Purpose) -> Embedding:
        """Embed with the collection's model.

        Raises Unavailable when the model of that name would give other vectors than those stored.
        """
        assert collection.embedding_model is not None
        embedder = self._models.load(collection.embedding_model)
        if embedder.fingerprint != collection.embedding_fingerprint:
            raise Unavailable(
                f"the collection was made with {collection.embedding_model} of another fingerprint"
                f" ({collection.embedding_fingerprint}, here {embedder.fingerprint})"
            )
        return embedder.embed(texts, purpose)


class ModelService:
    """`akidb.ports.operations.ModelOperations` in process."""

    def __init__(self, admission: Admission, models: EmbeddingModels) -> None:
        self.admission = admission
        self._models = models

    @operation
    def list(self) -> list[ModelInfo]:
        """All known models."""
        return self._models.list()

    @operation
    def info(self, name: str) -> ModelInfo:
        """One model."""
        return self._models.info(name)

    @operation
    def pull(self, name: str, progress: Progress | None = None) -> ModelInfo:
        """Fetch a model, unless it is there."""
        return self._models.pull(name, progress)
