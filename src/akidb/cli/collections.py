"""`akidb collection`: documents whose vectors share a dimension, a metric and a model."""

from typing import Annotated

import typer

from akidb.cli import everyday
from akidb.cli.arguments import CollectionArgument, collection_path
from akidb.cli.session import Session, command, group
from akidb.operations.collections import GetIndex, RebuildIndex

app = group("collection", "Collections of documents with one dimension and metric.")

everyday.add(app, "collection", "create", "list", "count", "get", "update", "delete", "restore", "purge")


@command(app, "index")
def index(
    session: Session,
    path: CollectionArgument,
    *,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="First make it anew from the documents.")
    ] = False,
) -> None:
    """Show the state of the index of vectors."""
    target = collection_path(path)._asdict()
    state = session.operations.perform(RebuildIndex(**target) if rebuild else GetIndex(**target))
    rows: list[tuple[object, ...]] = [
        (
            "segment",
            each.documents,
            each.deleted,
            each.graph,
            each.recall,
            each.candidates,
            each.memory_bytes,
            each.disk_bytes,
        )
        for each in state.segments
    ]
    if state.loaded:
        rows.append(("tail", state.tail, None, "none", None, None, None, None))
    columns = ("", "documents", "deleted", "graph", "recall", "candidates", "memory_bytes", "disk_bytes")
    session.out.rows(state, columns, rows)
    loaded = f"{state.memory_bytes} bytes in memory" if state.loaded else "not in memory"
    building = "; a segment is being built" if state.building else ""
    session.out.note(f"{loaded}; {state.lag} of {state.sequence} writes to apply{building}")
