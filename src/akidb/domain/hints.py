"""Hints for mistyped words."""

from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str], *, prefix: str = "") -> str:
    """Return `; did you mean X?` with the known word that is nearest to a mistyped one, or an empty text.

    `prefix` precedes the word in the hint.
    """
    from difflib import get_close_matches

    by_lower = {each.lower(): each for each in known}
    near = get_close_matches(word.lower(), by_lower, n=1)
    return f"; did you mean {prefix}{by_lower[near[0]]}?" if near else ""
