"""`akidb collection`: documents whose vectors share a dimension, a metric and a model."""

from typing import Annotated

import typer

from akidb.cli.arguments import (
    CollectionArgument,
    Cursor,
    DatabaseArgument,
    Deleted,
    IfVersion,
    Limit,
    Yes,
    collection_path,
    database_path,
    given,
    require_changes,
)
from akidb.cli.session import Session, command, confirm, group
from akidb.domain.documents import DEFAULT_PAGE_LIMIT
from akidb.domain.entities import Metric
from akidb.ports.operations import CollectionChanges

app = group("collection", "Collections of documents with one dimension and metric.")

COLUMNS = ("name", "state", "dimension", "metric", "embedding_model", "collection_id")

HnswM = Annotated[int | None, typer.Option("--hnsw-m", help="Links of each vector in a large index.")]
EfConstruction = Annotated[int | None, typer.Option("--hnsw-ef-construction", help="Care in building one.")]
MaxDocuments = Annotated[int | None, typer.Option("--max-document-count", help="The most it may hold.")]


@command(app, "create")
def create(
    session: Session,
    database: DatabaseArgument,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    *,
    dimension: Annotated[int | None, typer.Option(help="Length of its vectors, 16-4096.")] = None,
    metric: Annotated[Metric, typer.Option(help="How vectors are compared.")] = Metric.COSINE,
    embedding_model: Annotated[
        str | None, typer.Option(help="Makes vectors of texts; the collection has its dimension.")
    ] = None,
    hnsw_m: HnswM = None,
    hnsw_ef_construction: EfConstruction = None,
    max_document_count: MaxDocuments = None,
) -> None:
    """Create a collection, with a dimension or an embedding model."""
    collection = session.operations.collections.create(
        *database_path(database),
        name,
        dimension=dimension,
        metric=metric,
        embedding_model=embedding_model,
        hnsw_m=hnsw_m,
        hnsw_ef_construction=hnsw_ef_construction,
        max_document_count=max_document_count,
    )
    session.out.record(collection)


@command(app, "list")
def list_collections(
    session: Session,
    database: DatabaseArgument,
    *,
    deleted: Deleted = False,
    limit: Limit = DEFAULT_PAGE_LIMIT,
    cursor: Cursor = None,
) -> None:
    """List a database's collections, by name."""
    page = session.operations.collections.list(
        *database_path(database), deleted=deleted, limit=limit, cursor=cursor
    )
    session.out.page(page, COLUMNS)


@command(app, "get")
def get(session: Session, path: CollectionArgument) -> None:
    """Show a collection."""
    session.out.record(session.operations.collections.get(*collection_path(path)))


@command(app, "update")
def update(
    session: Session,
    path: CollectionArgument,
    *,
    name: Annotated[str | None, typer.Option()] = None,
    hnsw_m: HnswM = None,
    hnsw_ef_construction: EfConstruction = None,
    max_document_count: MaxDocuments = None,
    if_version: IfVersion = None,
) -> None:
    """Change a collection; what is not named stays, and dimension, metric and model always do."""
    changes = CollectionChanges(
        name=given(name),
        hnsw_m=given(hnsw_m),
        hnsw_ef_construction=given(hnsw_ef_construction),
        max_document_count=given(max_document_count),
    )
    require_changes(changes)
    session.out.record(
        session.operations.collections.update(*collection_path(path), changes, if_version=if_version)
    )


@command(app, "delete")
def delete(session: Session, path: CollectionArgument, *, if_version: IfVersion = None) -> None:
    """Delete a collection, until `restore` or `purge`."""
    session.operations.collections.delete(*collection_path(path), if_version=if_version)
    session.out.done({"deleted": path}, f"deleted {path}; `akidb collection restore` brings it back")


@command(app, "restore")
def restore(session: Session, path: CollectionArgument, *, if_version: IfVersion = None) -> None:
    """Bring a deleted collection back, documents and all."""
    session.out.record(session.operations.collections.restore(*collection_path(path), if_version=if_version))


@command(app, "purge")
def purge(
    session: Session, path: CollectionArgument, *, yes: Yes = False, if_version: IfVersion = None
) -> None:
    """Remove a deleted collection and its documents for good."""
    parts = collection_path(path)
    confirm(session, f"Remove collection {path} and all its documents for good?", yes=yes)
    session.operations.collections.purge(*parts, if_version=if_version)
    session.out.done({"purged": path}, f"purged {path}")
