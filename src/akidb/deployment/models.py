"""Operations that need no data: text embedding, and the models installed on this machine."""

from typing import Any, TypeVar

from akidb.embedding.models import LocalModels
from akidb.operations import OPERATIONS, Request
from akidb.services.dispatch import handlers_of
from akidb.services.embeddings import EmbeddingService
from akidb.settings import Settings

A = TypeVar("A")


def local_models(settings: Settings) -> LocalModels:
    """Return the models configured by the settings."""
    return LocalModels(settings.models_path, source=settings.model_source_path)


class ModelOperations:
    """`akidb.operations.Operations` for models only, without a data directory or database."""

    def __init__(self, settings: Settings) -> None:
        service = EmbeddingService(local_models(settings), settings.default_model)
        self._handlers = {handler.row.request: handler.call for handler in handlers_of(service)}

    def perform(self, request: Request[A], **ends: Any) -> A:
        """Execute a request. Raises KeyError for one that needs data."""
        answer: A = self._handlers[type(request)](OPERATIONS[type(request)].checked(request), **ends)
        return answer

    def close(self) -> None:
        """Do nothing: there is nothing to close."""
