"""`akidb document`: documents of a collection, individually or from files."""

import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from akidb.cli.arguments import (
    CollectionArgument,
    FilterOption,
    Parts,
    Vectors,
    Yes,
    collection_path,
    parse_object,
)
from akidb.cli.output import counted, write_bytes
from akidb.cli.session import Session, command, confirm, group
from akidb.client.bulk.formats import FileFormat
from akidb.domain.documents import DEFAULT_INCLUDE, DEFAULT_PAGE_LIMIT, MAX_PAGE_LIMIT, Include, UpsertMode
from akidb.domain.errors import InvalidArgument, NotFound
from akidb.domain.parts import check_include
from akidb.operations.collections import GetCollection
from akidb.operations.documents import (
    ClearDocuments,
    CountDocuments,
    DeleteDocuments,
    GetDocuments,
    GetFacets,
    ScanDocuments,
    UpdateDocuments,
)

if TYPE_CHECKING:
    from akidb.cli.importing import Written

SHOWN_IDS = 10
"""Ids in a note; JSON output has more."""

app = group("document", "Documents of a collection.")

FormatOption = Annotated[
    FileFormat | None, typer.Option(help="The format of the file, if its suffix does not say it.")
]
Ids = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Document IDs.")]


@command(app, "import")
def import_file(
    session: Session,
    path: CollectionArgument,
    file: Annotated[
        str,
        typer.Argument(
            metavar="FILE",
            help="JSON lines, .parquet, .arrow (a file) or .arrows (a stream); - is standard input.",
        ),
    ],
    *,
    format: FormatOption = None,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=NAME", help="The column of id, vector, text or metadata. Repeatable."),
    ] = None,
    metadata_column: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A column that becomes metadata. Repeatable."),
    ] = None,
    id_prefix: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Rows without an id get this and their number, from 0."),
    ] = None,
    mode: Annotated[
        UpsertMode, typer.Option(help="What to do with documents that exist.")
    ] = UpsertMode.UPSERT,
    resume: Annotated[
        bool, typer.Option("--resume", help="Record progress beside the file, and continue after a crash.")
    ] = False,
    state: Annotated[
        Path | None, typer.Option(metavar="PATH", help="The same, recorded in this file.")
    ] = None,
    allow_empty: Annotated[
        bool, typer.Option("--allow-empty", help="Accept a file without documents.")
    ] = False,
) -> None:
    """Import the documents of a file, after validating the whole file.

    Each line is an object with id, text, vector and metadata, and so is each row of a table. A document with
    an existing id is replaced; with --mode insert it is refused, with skip it is kept; with update only
    existing documents are written, and keep the parts that are not given.
    """
    from akidb.cli import files, importing

    how = files.options_of(file, format, column, metadata_column, id_prefix, resume, state)
    target = collection_path(path)
    collection = session.operations.perform(GetCollection(**target._asdict()))
    if not how.are_plain:
        result, seconds = files.load(session, target, collection, file, how, mode, allow_empty=allow_empty)
        written = importing.Written(
            result.upserted, result.truncated, result.truncated_ids, result.without_vector
        )
        _report(session, written, result.documents, seconds, mode, resumed_after=result.resumed_after)
        return
    with importing.opened(file, None if isinstance(session.place, str) else session.place) as source:
        start = source.tell()
        count = importing.check(importing.lines(source), collection, mode)
        if not count and not allow_empty:
            # Usually the command before the pipe has failed.
            raise InvalidArgument("file", importing.EMPTY)
        source.seek(start)
        began = time.perf_counter()
        with session.out.progress("importing", count, "documents") as advance:
            # Lines appended since have not been validated.
            embeds = collection.embedding_model is not None
            parts = importing.batches(importing.lines(source, count), embeds=embeds)
            written = importing.write(session.operations, target, parts, advance, mode)
    _report(session, written, count, time.perf_counter() - began, mode)


def _report(
    session: Session,
    written: "Written",
    count: int,
    seconds: float,
    mode: UpsertMode,
    *,
    resumed_after: int = 0,
) -> None:
    rate = max(0, written.documents - resumed_after) / seconds if seconds else 0.0
    session.out.done(
        {
            "imported": written.documents,
            "skipped": count - written.documents,
            "seconds": round(seconds, 3),
            "documents_per_second": round(rate, 1),
            "truncated": written.truncated,
            "truncated_ids": written.truncated_ids,
            "without_vector": written.without_vector,
            "resumed_after": resumed_after,
        },
        f"imported {counted(written.documents, 'document')} in {seconds:.1f} s, {rate:,.0f} documents/s",
    )
    if written.documents < count:
        known = "already in" if mode is UpsertMode.SKIP else "not in"
        session.out.note(f"skipped {counted(count - written.documents, 'document')} {known} the collection")
    if written.truncated:
        session.out.note(_truncation(written))
    if written.without_vector:
        documents, are = (
            counted(written.without_vector, "document"),
            "is" if written.without_vector == 1 else "are",
        )
        session.out.note(f"{documents} {are} stored without a vector: no vector search finds them")


def _truncation(written: "Written") -> str:
    ids = written.truncated_ids[:SHOWN_IDS]
    more = ", ..." if written.truncated > len(ids) else ""
    texts, are = counted(written.truncated, "text"), "is" if written.truncated == 1 else "are"
    return (
        f"{texts} {are} longer than the embedding model accepts: only the beginning is in the vector"
        f" ({', '.join(ids)}{more})"
    )


@command(app, "list")
def list_documents(
    session: Session,
    path: CollectionArgument,
    *,
    filter: FilterOption = None,
    order_by: Annotated[
        str | None, typer.Option(metavar="FIELD", help="Sort by a metadata field, then by ID.")
    ] = None,
    descending: Annotated[bool, typer.Option("--descending", help="Sort by it in descending order.")] = False,
    include: Parts = None,
    limit: Annotated[
        int, typer.Option(metavar="N", help="Maximum number of documents.")
    ] = DEFAULT_PAGE_LIMIT,
    cursor: Annotated[str | None, typer.Option(help="Continue after an earlier list.")] = None,
) -> None:
    """List documents sorted by ID, all of them or those that match a filter."""
    parts = _include(include)
    request = ScanDocuments(
        **collection_path(path)._asdict(),
        filter=parse_object(filter, "filter"),
        order_by=order_by,
        descending=descending,
        include=parts,
        limit=limit,
        cursor=cursor,
    )
    page = session.operations.perform(request)
    rows = [[getattr(document, name) for name in _columns(parts)] for document in page.items]
    session.out.listed(page, _columns(parts), rows)


@command(app, "get")
def get(
    session: Session,
    path: CollectionArgument,
    ids: Ids = None,
    *,
    include: Parts = None,
    vectors: Vectors = False,
) -> None:
    """Show documents. The exit status is 3 if one does not exist."""
    wanted = _needed(ids)
    parts = _include(include, vectors=vectors)
    documents = session.operations.perform(
        GetDocuments(**collection_path(path)._asdict(), ids=wanted, include=parts)
    )
    if session.out.json or documents:
        rows = [[getattr(document, name) for name in _columns(parts)] for document in documents]
        session.out.rows({"documents": documents}, _columns(parts), rows)
    there = {document.id for document in documents}
    missing = [document_id for document_id in wanted if document_id not in there]
    if missing:
        error = NotFound("document", missing[0])
        if len(missing) > 1:
            error.add_note(f"{len(missing) - 1} more missing")
        raise error


@command(app, "delete")
def delete(
    session: Session,
    path: CollectionArgument,
    ids: Ids = None,
    *,
    filter: FilterOption = None,
    yes: Yes = False,
) -> None:
    """Delete the documents with these IDs, or those that match a filter."""
    target, chosen = collection_path(path), parse_object(filter, "filter")
    if bool(ids) == (chosen is not None):
        raise InvalidArgument("ids", "give either IDs or --filter")
    if chosen is not None:
        count = session.operations.perform(CountDocuments(**target._asdict(), filter=chosen))
        confirm(session, f"Delete {counted(count, 'document')} for good?", yes=yes or not count)
    deleted = session.operations.perform(DeleteDocuments(**target._asdict(), ids=ids or None, filter=chosen))
    session.out.done({"deleted": deleted}, f"deleted {counted(deleted, 'document')}")


@command(app, "clear")
def clear(session: Session, path: CollectionArgument, *, yes: Yes = False) -> None:
    """Delete all documents of a collection; the collection itself is kept."""
    target = collection_path(path)
    count = session.operations.perform(CountDocuments(**target._asdict()))
    confirm(session, f"Delete all {counted(count, 'document')} of {path} for good?", yes=yes or not count)
    deleted = session.operations.perform(ClearDocuments(**target._asdict()))
    session.out.done({"deleted": deleted}, f"deleted {counted(deleted, 'document')}")


@command(app, "update")
def update(
    session: Session,
    path: CollectionArgument,
    ids: Ids = None,
    *,
    metadata: Annotated[
        str, typer.Option(metavar="JSON", help="Merged into their metadata; null removes a key.")
    ],
    filter: FilterOption = None,
) -> None:
    """Change the metadata of the documents with these IDs, or of those that match a filter."""
    request = UpdateDocuments(
        **collection_path(path)._asdict(),
        metadata=parse_object(metadata, "metadata") or {},
        ids=ids or None,
        filter=parse_object(filter, "filter"),
    )
    updated = session.operations.perform(request)
    session.out.done({"updated": updated}, f"updated {counted(updated, 'document')}")


@command(app, "count")
def count(session: Session, path: CollectionArgument, *, filter: FilterOption = None) -> None:
    """Count all documents, or those that match a filter."""
    found = session.operations.perform(
        CountDocuments(**collection_path(path)._asdict(), filter=parse_object(filter, "filter"))
    )
    session.out.done({"count": found}, str(found))


@command(app, "facets")
def facets(
    session: Session,
    path: CollectionArgument,
    field: Annotated[str, typer.Argument(metavar="FIELD", help="A field of the metadata.")],
    *,
    filter: FilterOption = None,
    limit: Annotated[int, typer.Option(help="Maximum number of values.")] = DEFAULT_PAGE_LIMIT,
) -> None:
    """Count the documents with each value of a field."""
    target, chosen = collection_path(path), parse_object(filter, "filter")
    found = session.operations.perform(GetFacets(**target._asdict(), field=field, filter=chosen, limit=limit))
    rows = [[facet.value, facet.count] for facet in found.values]
    session.out.rows(found, ["value", "count"], rows)
    if found.distinct > len(found.values):
        session.out.note(f"{found.distinct - len(found.values)} more distinct values")


@command(app, "export")
def export(
    session: Session,
    path: CollectionArgument,
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="The file to write; by default, and as -, standard output.")
    ] = "-",
    *,
    format: FormatOption = None,
    filter: FilterOption = None,
    include: Parts = None,
    vectors: Vectors = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing regular file.")] = False,
) -> None:
    """Print documents as JSON lines, or write them to a file, in the formats of `import`."""
    from akidb.cli import files
    from akidb.client.patience import patiently
    from akidb.ports import wire

    target, chosen, cursor = collection_path(path), parse_object(filter, "filter"), None
    parts = _include(include, vectors=vectors)
    kind = files.options_of(file, format, None, None, None, resume=False, state=None).format
    if file != "-" or kind != FileFormat.JSONL:
        collection = session.operations.perform(GetCollection(**target._asdict()))
        files.export(session, target, collection, file, kind, filter=chosen, include=parts, force=force)
        return
    while True:
        request = ScanDocuments(
            **target._asdict(), filter=chosen, include=parts, limit=MAX_PAGE_LIMIT, cursor=cursor
        )
        page = patiently(partial(session.operations.perform, request))
        write_bytes(b"".join(wire.encode(document) + b"\n" for document in page.items))
        cursor = page.next_cursor
        if cursor is None:
            break


def _needed(ids: list[str] | None) -> list[str]:
    if not ids:
        raise InvalidArgument("ids", "give at least one ID")
    return ids


def _include(include: str | None = None, *, vectors: bool = False) -> frozenset[str]:
    parts: frozenset[str] = DEFAULT_INCLUDE
    if include is not None:
        from akidb.operations.text import parsers

        parts = check_include(parsers(ScanDocuments)["include"](include, "include"))
    return parts | {Include.VECTOR} if vectors else parts


def _columns(include: frozenset[str]) -> tuple[str, ...]:
    parts = {part.partition(".")[0] for part in include}
    return ("id", *(str(part) for part in Include if part in parts))
