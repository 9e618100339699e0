"""The text of a keyword search: words, phrases in double quotes, and beginnings of words marked by `*`.

Everything else in the text, operators of other languages included, only separates words.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple
from unicodedata import category

from akidb.domain.errors import InvalidArgument

MAX_TERMS = 256
"""Distinct words and phrases of one search."""
QUOTE, PREFIX = '"', "*"


class Term(NamedTuple):
    """What a document may contain: one word, or several in this order as a phrase."""

    words: tuple[str, ...]
    is_prefix: bool
    """Whether the last word is the beginning of a word."""


def terms_of(text: str, field: str = "text") -> list[Term]:
    """Return the distinct terms of a text in their order; none if it has no letter or digit.

    Raises InvalidArgument(`field`) if there are too many.
    """
    found: dict[Term, None] = {}
    for term in _terms(text):
        found[term] = None
        if len(found) > MAX_TERMS:
            raise InvalidArgument(field, f"has more than {MAX_TERMS} distinct words to search for")
    return list(found)


def _terms(text: str) -> Iterator[Term]:
    pieces = text.split(QUOTE)
    for place, piece in enumerate(pieces):
        is_quoted = place % 2 == 1 and place < len(pieces) - 1
        if is_quoted:
            words = tuple(word for word, _ in _words(piece))
            if words:
                yield Term(words, pieces[place + 1].startswith(PREFIX))
        else:
            for word, is_prefix in _words(piece):
                yield Term((word,), is_prefix)


def _words(text: str) -> Iterator[tuple[str, bool]]:
    """Yield each word, in lower case where it is ASCII, and whether a `*` follows it."""
    start = None
    for at, character in enumerate(text):
        if _is_of_word(character):
            if start is None:
                start = at
        elif start is not None:
            yield _word(text[start:at]), character == PREFIX
            start = None
    if start is not None:
        yield _word(text[start:]), False


def _word(word: str) -> str:
    return word.lower() if word.isascii() else word


@lru_cache(4096)
def _is_of_word(character: str) -> bool:
    """Return whether a character belongs to words: letters, numbers, and the marks on them."""
    return character.isalnum() or category(character)[0] in "LNM" or category(character) == "Co"
