"""How texts are put together for the model: what is refused, what is cut, what goes with what."""

from collections.abc import Sequence

from akidb.domain.errors import InvalidArgument


def require_unicode(texts: Sequence[str]) -> None:
    """Raise InvalidArgument unless `texts` is a sequence of strings that UTF-8 can express.

    A single string is a sequence of strings too, and a lone surrogate is no character.
    """
    if isinstance(texts, str):
        raise InvalidArgument("texts", "must be a list of strings, not one string")
    for index, text in enumerate(texts):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidArgument(f"texts[{index}]", f"is not Unicode text: {error.reason}") from None


def plan(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Divide texts of these lengths, in tokens, into batches; return the texts' indexes in each.

    Texts of like length go together, the longest first, so that little is padded; a batch has at
    most `token_budget` tokens, padding included, or one text.
    """
    batches: list[list[int]] = []
    rows = 0
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if not batches or len(batches[-1]) == rows:
            batches.append([])
            rows = max(1, token_budget // max(1, lengths[index]))
        batches[-1].append(index)
    return batches
