"""Parts of texts with the words of a query marked, by the same tokenizer that indexed them."""

from collections.abc import Sequence
from contextlib import closing

from akidb.domain.documents import HIGHLIGHT_END, HIGHLIGHT_START, HIGHLIGHT_WORDS
from akidb.domain.keywords import Term
from akidb.search.keywords.database import IN_MEMORY, TOKENIZER, expression
from akidb.sql.sqlite_library import library

_SNIPPET = "SELECT rowid, snippet(words, 0, ?, ?, '…', ?) FROM words WHERE words MATCH ?"


def highlights(terms: Sequence[Term], texts: Sequence[str]) -> list[str | None]:
    """Return the best part of each text with the terms marked; None for a text without any."""
    found: list[str | None] = [None] * len(texts)
    if not terms:
        return found
    with closing(library.connect(IN_MEMORY, isolation_level=None)) as connection:
        connection.execute(f"CREATE VIRTUAL TABLE words USING fts5(text, tokenize='{TOKENIZER}')")
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO words(rowid, text) VALUES (?, ?)", enumerate(texts))
        asked = (HIGHLIGHT_START, HIGHLIGHT_END, HIGHLIGHT_WORDS, expression(terms))
        for place, part in connection.execute(_SNIPPET, asked):
            found[place] = part
    return found
