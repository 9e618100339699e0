"""`akidb model`: the embedding models of this machine or of a server.

Local models are stored outside the data directories, so no data directory is opened.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from akidb.cli.output import Output
from akidb.cli.session import Session, command, group
from akidb.operations.embeddings import GetModel, ListModels, PullModel

if TYPE_CHECKING:
    from akidb.domain.embedding import ModelInfo
    from akidb.operations.declare import Operations

app = group("model", "Embedding models.")

COLUMNS = ("name", "embedder", "dimension", "max_tokens", "installed", "size_bytes", "license")

Name = Annotated[str, typer.Argument(metavar="NAME")]


@command(app, "list")
def list_models(session: Session) -> None:
    """List the known models."""
    models = models_of(session).perform(ListModels())
    rows = [[getattr(model, column) for column in COLUMNS] for model in models]
    session.out.rows({"items": models, "next_cursor": None}, COLUMNS, rows)


@command(app, "info")
def info(session: Session, name: Name) -> None:
    """Show a model."""
    session.out.record(models_of(session).perform(GetModel(model=name)))


@command(app, "pull")
def pull(session: Session, name: Name) -> None:
    """Download a model and verify its hash, unless it is installed."""
    session.out.record(pull_with_progress(session.out, models_of(session), name))


def models_of(session: Session) -> "Operations":
    """Return the operations of the configured server, otherwise those of the local models."""
    if session.is_remote:
        return session.operations
    from akidb.deployment.models import ModelOperations

    return ModelOperations(session.settings)


def pull_with_progress(out: Output, operations: "Operations", name: str) -> "ModelInfo":
    """Download a model unless it is installed, with a progress bar for each stage."""
    with out.stages(name) as progress:
        return operations.perform(PullModel(model=name), progress=progress)
