"""The questions of a batch of searches, as texts or as vectors."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from akidb.domain.documents import MAX_QUESTIONS
from akidb.domain.errors import InvalidArgument

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Queries = Iterable[str] | Iterable[Sequence[float] | NDArray[Any]] | NDArray[Any]
else:
    Queries = Any  # NumPy is imported only by modules that create vectors


def texts_or_vectors(queries: Any) -> tuple[Any, Any]:
    """Return the texts and the vectors, one of which is None; the first item decides which they are.

    An array of numbers is returned as it is.
    """
    if queries is None:
        return None, None
    if isinstance(queries, str | bytes | Mapping) or not isinstance(queries, Iterable):
        raise InvalidArgument("queries", "must be a list of texts or vectors")
    if hasattr(queries, "__array__") and getattr(queries, "ndim", 1) != 1:
        return None, queries
    given = list(islice(queries, MAX_QUESTIONS + 1))
    if not given:
        raise InvalidArgument("queries", f"must contain 1 to {MAX_QUESTIONS} texts or vectors")
    return (given, None) if isinstance(given[0], str) else (None, given)
