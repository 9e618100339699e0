"""`akidb model`: the embedding models of this machine, or of the server that is asked.

The models of a machine lie outside every data directory, so none is opened for them.
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
    """List the models that are known."""
    models = models_of(session).perform(ListModels())
    rows = [[getattr(model, column) for column in COLUMNS] for model in models]
    session.out.rows({"items": models, "next_cursor": None}, COLUMNS, rows)


@command(app, "info")
def info(session: Session, name: Name) -> None:
    """Show a model."""
    session.out.record(models_of(session).perform(GetModel(model=name)))


@command(app, "pull")
def pull(session: Session, name: Name) -> None:
    """Fetch a model and check it by its hash, unless it is there."""
    session.out.record(pull_with_progress(session.out, models_of(session), name))


def models_of(session: Session) -> "Operations":
    """The server that the settings name, or else the models of this machine."""
    if session.is_remote:
        return session.operations
    from akidb.deployment.models import ModelOperations

    return ModelOperations(session.settings)


def pull_with_progress(out: Output, operations: "Operations", name: str) -> "ModelInfo":
    """Download a model unless it is installed, with a bar for each stage."""
    with out.stages(name) as progress:
        return operations.perform(PullModel(model=name), progress=progress)
