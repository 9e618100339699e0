"""Searches the demo's tenants, and verifies that no tenant finds another tenant's data."""

import time
from typing import Any

import msgspec

from akidb.cli.demo.parts import DATABASE, Part
from akidb.domain.documents import Match
from akidb.domain.errors import Internal, NotFound
from akidb.operations.collections import ListCollections
from akidb.operations.databases import GetDatabase
from akidb.operations.declare import Operations
from akidb.operations.documents import SearchDocuments

TOP_K = 3


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one search."""

    tenant: str
    question: str
    milliseconds: float
    """From query text to matches, embedding included."""
    matches: list[Match]


class Isolation(msgspec.Struct, frozen=True, kw_only=True):
    """Shows that a tenant cannot see another tenant's data."""

    answer: Answer
    """Its own matches, although the other tenant has a better one."""
    better: Answer
    """The matches of the other tenant."""
    foreign_database: str
    """The ID of a database of the other tenant."""
    refusal: str
    """The error for that database."""
    unknown_refusal: str
    """The error for a database that does not exist."""


def ask(operations: Operations, part: Part, question: str) -> Answer:
    """Run one search for one tenant."""
    began = time.perf_counter()
    result = operations.perform(SearchDocuments(**part.path._asdict(), text=question, top_k=TOP_K))
    milliseconds = (time.perf_counter() - began) * 1000
    return Answer(
        tenant=part.slug, question=question, milliseconds=round(milliseconds, 2), matches=result.matches
    )


def try_isolation(operations: Operations, part: Part, other: Part, question: str) -> Isolation:
    """Search one tenant for another tenant's data. Raises Internal if it finds any."""
    answer = ask(operations, part, question)
    strangers = [match.id for match in answer.matches if not _is_of(part, match)]
    if strangers:
        raise Internal(f"{part.slug} found {strangers[0]}, which belongs to another tenant")
    foreign = str(operations.perform(GetDatabase(tenant=other.slug, database=DATABASE)).database_id)
    unknown = _unlike(foreign)
    return Isolation(
        answer=answer,
        better=ask(operations, other, question),
        foreign_database=foreign,
        refusal=_refusal(operations, part, foreign),
        unknown_refusal=_refusal(operations, part, unknown),
    )


def _is_of(part: Part, match: Match) -> bool:
    metadata: dict[str, Any] = match.metadata or {}
    return str(metadata.get("module")).partition(".")[0] in part.modules


def _unlike(foreign: str) -> str:
    """Return an unused ID: the foreign one with its last digit changed."""
    return foreign[:-1] + ("0" if foreign[-1] != "0" else "1")


def _refusal(operations: Operations, part: Part, database: str) -> str:
    try:
        operations.perform(ListCollections(tenant=part.slug, database=database))
    except NotFound as error:
        return error.message
    raise Internal(f"{part.slug} got access to {database}, which belongs to another tenant")
