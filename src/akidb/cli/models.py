"""`akidb model`: the embedding models of this machine, or of the server that is asked.

The models of a machine lie outside every data directory, so none is opened for them.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from akidb.cli.output import Output
from akidb.cli.session import Session, command, group
from akidb.ports.operations import EmbeddingOperations, ModelOperations

if TYPE_CHECKING:
    from akidb.embedding import LocalModels
    from akidb.ports.embedding import ModelInfo

app = group("model", "Embedding models.")

COLUMNS = ("name", "embedder", "dimension", "max_tokens", "installed", "size_bytes", "license")

Name = Annotated[str, typer.Argument(metavar="NAME")]


@command(app, "list")
def list_models(session: Session) -> None:
    """List the models that are known."""
    models = models_of(session).list()
    rows = [[getattr(model, column) for column in COLUMNS] for model in models]
    session.out.rows({"items": models, "next_cursor": None}, COLUMNS, rows)


@command(app, "info")
def info(session: Session, name: Name) -> None:
    """Show a model."""
    session.out.record(models_of(session).info(name))


@command(app, "pull")
def pull(session: Session, name: Name) -> None:
    """Fetch a model and check it by its hash, unless it is there."""
    session.out.record(pull_with_progress(session.out, models_of(session), name))


def models_of(session: Session) -> ModelOperations:
    """The models of the server that the settings name, or else those of this machine."""
    if session.is_remote:
        return session.operations.models
    return _local_models(session)


def embeddings_of(session: Session) -> EmbeddingOperations:
    """What makes vectors where the models are."""
    if session.is_remote:
        return session.operations.embeddings
    from akidb.services.admission import Admission
    from akidb.services.embeddings import EmbeddingService

    return EmbeddingService(Admission(), _local_models(session), session.settings.default_model)


def pull_with_progress(out: Output, models: ModelOperations, name: str) -> "ModelInfo":
    """Fetch a model unless it is there, with a bar for each stage."""
    with out.stages(name) as progress:
        return models.pull(name, progress)


def _local_models(session: Session) -> "LocalModels":
    from akidb.embedding import LocalModels

    source = session.settings.model_source
    return LocalModels(session.settings.models_path, source=Path(source) if source else None)
