"""Checks of the questions of a batch of searches.

Every error is an InvalidArgument with the path, as in `texts[3]`.
"""

from collections.abc import Sequence
from typing import Any

from akidb.domain.batches import check_id
from akidb.domain.columns import column
from akidb.domain.documents import MAX_QUESTIONS, MAX_TEXT_BYTES
from akidb.domain.errors import InvalidArgument
from akidb.domain.names import check_text


def check_questions(texts: object, field: str) -> list[str]:
    """Check 1 to 200 texts."""
    given = _questions(texts, field)
    return [
        check_text(text, f"{field}[{place}]", maximum_bytes=MAX_TEXT_BYTES)
        for place, text in enumerate(given)
    ]


def check_question_ids(ids: object, field: str) -> list[str]:
    """Check 1 to 200 ids, which may repeat."""
    return [check_id(id, f"{field}[{place}]") for place, id in enumerate(_questions(ids, field))]


def check_question_vectors(vectors: object, field: str) -> Sequence[Any]:
    """Check that there are 1 to 200 vectors, a list or an array of shape `(n, dimension)`."""
    return _questions(vectors, field)


def _questions(values: object, field: str) -> Sequence[Any]:
    given: Sequence[Any] = column(field, values, most=MAX_QUESTIONS + 1)
    if not 1 <= len(given) <= MAX_QUESTIONS:
        raise InvalidArgument(field, f"must contain 1 to {MAX_QUESTIONS} questions")
    return given
