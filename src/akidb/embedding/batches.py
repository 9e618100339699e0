"""Validation and batching of texts for a model."""

from collections.abc import Sequence

from akidb.domain.errors import InvalidArgument


def require_unicode(texts: Sequence[str]) -> None:
    """Raise InvalidArgument unless `texts` is a sequence of strings that can be encoded as UTF-8.

    Rejects a single string, which is also a sequence of strings, and lone surrogates.
    """
    if isinstance(texts, str):
        raise InvalidArgument("texts", "must be a list of strings, not one string")
    for index, text in enumerate(texts):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidArgument(f"texts[{index}]", f"is not Unicode text: {error.reason}") from None


def plan(lengths: Sequence[int], token_budget: int) -> list[list[int]]:
    """Divide texts of these lengths, in tokens, into batches; return the text indexes of each batch.

    Texts of similar length are batched together, longest first, to minimize padding; a batch has at
    most `token_budget` tokens, padding included, or a single text.
    """
    batches: list[list[int]] = []
    rows = 0
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if not batches or len(batches[-1]) == rows:
            batches.append([])
            rows = max(1, token_budget // max(1, lengths[index]))
        batches[-1].append(index)
    return batches
