"""`akidb search` and `akidb embed`."""

import time
from typing import Annotated, Any

import msgspec
import typer

from akidb.cli.arguments import CollectionArgument, FilterOption, Parts, collection_path, parse_object
from akidb.cli.models import models_of
from akidb.cli.output import counted
from akidb.cli.session import Session, command
from akidb.domain.documents import DEFAULT_INCLUDE, SearchMode, SearchResult
from akidb.domain.errors import InvalidArgument
from akidb.domain.names import check_word
from akidb.operations.documents import SearchDocuments
from akidb.operations.embeddings import EmbedTexts
from akidb.operations.text import parsers


def add_to(app: typer.Typer) -> None:
    """Declare the commands."""
    command(app, "search")(search)
    command(app, "embed")(embed)


def search(
    session: Session,
    path: CollectionArgument,
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="The query text.")] = None,
    *,
    vector: Annotated[
        str | None, typer.Option(metavar="JSON", help="A query vector instead of a text.")
    ] = None,
    id: Annotated[
        str | None, typer.Option(metavar="ID", help="Search for documents like this one instead.")
    ] = None,
    top_k: Annotated[int, typer.Option(help="Maximum number of matches, 1-10000.")] = 10,
    filter: FilterOption = None,
    score_threshold: Annotated[float | None, typer.Option(help="Omit matches with a lower score.")] = None,
    group_by: Annotated[
        str | None,
        typer.Option(metavar="FIELD", help="Show the best of each value of a field."),
    ] = None,
    group_size: Annotated[int, typer.Option(help="Maximum number of matches of a group, 1-100.")] = 1,
    ef_search: Annotated[int | None, typer.Option(help="Candidates of a search in graphs.")] = None,
    recall: Annotated[
        float | None, typer.Option(help="The share of the best matches to find; 1 compares all vectors.")
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Print what was done in each part of the index.")
    ] = False,
    mode: Annotated[
        str, typer.Option(help="vector, keyword (the words of the texts), or hybrid (both).")
    ] = str(SearchMode.VECTOR),
    weights: Annotated[
        str | None, typer.Option(metavar="JSON", help='Of hybrid, as in {"vector": 1, "keyword": 2}.')
    ] = None,
    highlights: Annotated[
        bool, typer.Option("--highlights", help="Show the part of each text with the words searched for.")
    ] = False,
    include: Parts = None,
    cursor: Annotated[str | None, typer.Option(help="The next_cursor of the previous page.")] = None,
) -> None:
    """Find the documents nearest to a text, a vector or a document, or with the words of a text."""
    began = time.perf_counter()
    request = SearchDocuments(
        **collection_path(path)._asdict(),
        text=text,
        vector=_numbers(vector),
        id=id,
        mode=check_word(SearchMode, mode, "mode"),
        top_k=top_k,
        filter=parse_object(filter, "filter"),
        score_threshold=score_threshold,
        group_by=group_by,
        group_size=group_size,
        ef_search=ef_search,
        recall=recall,
        explain=explain,
        weights=parse_object(weights, "weights"),
        highlights=highlights,
        cursor=cursor,
        include=DEFAULT_INCLUDE
        if include is None
        else parsers(SearchDocuments)["include"](include, "include"),
    )
    result = session.operations.perform(request)
    milliseconds = (time.perf_counter() - began) * 1000
    columns = [*(["group"] if group_by is not None else []), "score", "id", "text", "metadata"]
    fields = ["highlight" if highlights and column == "text" else column for column in columns]
    rows = [tuple(getattr(match, field) for field in fields) for match in result.matches]
    session.out.rows(result, columns, rows)
    session.out.note(f"{counted(len(rows), 'match', 'matches')} in {milliseconds:.1f} ms")
    _explain(session, result)


def _explain(session: Session, result: SearchResult) -> None:
    """Say what a user should know of a search beside its matches."""
    for step in result.statistics.steps or ():
        session.out.note(
            f"{step.part}: {step.way}, {step.scanned} compared of {step.allowed} allowed; {step.why}"
        )
    if result.next_cursor is not None:
        session.out.note(f"more: --cursor {result.next_cursor}")
    if result.statistics.query_truncated:
        session.out.note(
            "the text is longer than the embedding model accepts: only its beginning was searched for"
        )


def embed(
    session: Session,
    text: Annotated[list[str], typer.Argument(metavar="TEXT")],
    *,
    model: Annotated[str | None, typer.Option(help="Defaults to the configured model.")] = None,
) -> None:
    """Embed texts as vectors."""
    result = models_of(session).perform(EmbedTexts(texts=text, model=model))
    vectors: list[list[float]] = result.vectors.tolist()
    rows: list[tuple[Any, ...]] = [
        (f"{', '.join(f'{number:.4f}' for number in vector[:4])}, ...", len(vector), tokens, cut)
        for vector, tokens, cut in zip(vectors, result.token_counts, result.truncated, strict=True)
    ]
    session.out.rows(result, ("vector", "dimension", "tokens", "truncated"), rows)


def _numbers(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return msgspec.json.decode(text.encode(errors="surrogatepass"), type=list[float])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise InvalidArgument("vector", "must be a JSON list of numbers") from None
