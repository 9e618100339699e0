"""The operations that need no data: embedding of texts, and the models of this machine."""

from pathlib import Path
from typing import Any, TypeVar

from akidb.embedding.models import LocalModels
from akidb.operations import OPERATIONS, Request
from akidb.services.dispatch import handlers_of
from akidb.services.embeddings import EmbeddingService
from akidb.settings import Settings

A = TypeVar("A")


def local_models(settings: Settings) -> LocalModels:
    """The models that the settings name."""
    source = None if settings.model_source is None else Path(settings.model_source)
    return LocalModels(settings.models_path, source=source)


class ModelOperations:
    """`akidb.operations.Operations` for these alone, without a data directory or a database."""

    def __init__(self, settings: Settings) -> None:
        service = EmbeddingService(local_models(settings), settings.default_model)
        self._handlers = {handler.row.request: handler.call for handler in handlers_of(service)}

    def perform(self, request: Request[A], **ends: Any) -> A:
        """Carry a request out. Raises KeyError for one that needs data."""
        answer: A = self._handlers[type(request)](OPERATIONS[type(request)].checked(request), **ends)
        return answer

    def close(self) -> None:
        """Nothing is kept open."""
