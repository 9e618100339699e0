"""Substring search for tenant names: the index, on both databases.

SQLite keeps three-character parts of the names in an FTS5 table, PostgreSQL parts of one to three in a GIN
index (ADR 0013). It returns candidates; callers must compare the names themselves.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import GenericFunction

from akidb.metadata.tables import tenants
from akidb.sql.prepared import Prepared

MAX_CANDIDATES = 4_000
"""Above this number of candidates, scanning in sort order is faster."""

_MAX_GRAMS = 16
_MAX_TERMS = 200
_LAST_CHARACTER = chr(0x10FFFF)

_indexed = sa.table("indexed_names", sa.column("name_key"), sa.column("tenant_id", tenants.c.tenant_id.type))
_unindexed = sa.table("unindexed_names", sa.column("tenant_id", tenants.c.tenant_id.type))
_grams = sa.table("tenant_grams", sa.column("rowid"))
_terms = sa.table("tenant_terms", sa.column("term", sa.Text))


class contains(GenericFunction[bool]):  # noqa: N801 - reads like a SQL function
    """Whether a text contains another one, compared by code point."""

    type = sa.Boolean()
    inherit_cache = True


@compiles(contains, "sqlite")
def _on_sqlite(element: contains, compiler: Any, **options: Any) -> str:
    return f"instr({compiler.process(element.clauses, **options)}) > 0"


@compiles(contains, "postgresql")
def _on_postgresql(element: contains, compiler: Any, **options: Any) -> str:
    return f"strpos({compiler.process(element.clauses, **options)}) > 0"


_MATCHING = (
    sa.select(_indexed.c.tenant_id)
    .select_from(_grams.join(_indexed, _indexed.c.name_key == _grams.c.rowid))
    .where(sa.literal_column("tenant_grams").op("MATCH")(sa.bindparam("wanted", type_=sa.Text)))
)
_HOLDING = sa.func.name_grams(tenants.c.name_folded).op("@>")(sa.bindparam("wanted", type_=sa.ARRAY(sa.Text)))
CANDIDATES: dict[str, sa.ColumnElement[bool]] = {
    "sqlite": tenants.c.tenant_id.in_(
        sa.union_all(_MATCHING, sa.select(_unindexed.c.tenant_id)).subquery().select()
    ),
    "postgresql": _HOLDING,
}
"""By dialect: tenants that may match `wanted`; false positives are possible."""


def _bounded(statement: sa.Select[Any]) -> Prepared:
    few = statement.limit(MAX_CANDIDATES + 1).subquery()
    return Prepared(sa.select(sa.func.count()).select_from(few))


_NUMBER = {
    "sqlite": _bounded(_MATCHING),
    "postgresql": _bounded(sa.select(tenants.c.tenant_id).where(_HOLDING)),
}
_TERMS = Prepared(
    sa.select(_terms.c.term)
    .where(_terms.c.term >= sa.bindparam("first"), _terms.c.term < sa.bindparam("beyond"))
    .limit(_MAX_TERMS + 1)
)


def wanted(connection: sa.Connection, needle: str) -> str | list[str] | None:
    """Return the index query for a folded needle, or None if there are too many candidates."""
    if connection.dialect.name == "postgresql":
        asked: str | list[str] | None = _parts(needle) if len(needle) > 2 else [needle]
    else:
        asked = (
            " AND ".join(map(_quoted, _parts(needle))) if len(needle) > 2 else _beginning(connection, needle)
        )
    if asked is None:
        return None
    (number,) = _NUMBER[connection.dialect.name].first(connection, wanted=asked)
    return asked if number <= MAX_CANDIDATES else None


def _parts(needle: str) -> list[str]:
    """Return the trigrams of a needle, up to `_MAX_GRAMS`: enough to be selective if any are."""
    parts = dict.fromkeys(needle[at : at + 3] for at in range(len(needle) - 2))
    return list(parts)[:_MAX_GRAMS]


def _beginning(connection: sa.Connection, needle: str) -> str | None:
    """Return an index query for the terms that start with a needle of one or two characters."""
    beyond = _LAST_CHARACTER if needle == _LAST_CHARACTER else needle[:-1] + _next(needle[-1])
    terms = [term for (term,) in _TERMS.all(connection, first=needle, beyond=beyond)]
    if len(terms) > _MAX_TERMS:
        return None
    return " OR ".join(map(_quoted, terms or [needle.ljust(3, "\x01")]))


def _next(character: str) -> str:
    number = min(ord(character) + 1, 0x10FFFF)
    return chr(0xE000 if 0xD800 <= number <= 0xDFFF else number)


def _quoted(term: str) -> str:
    return '"' + term.replace('"', '""') + '"'
