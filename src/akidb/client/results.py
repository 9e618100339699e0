"""Results that are lists with extra attributes. They never call the server."""

from collections.abc import Iterable
from typing import TypeVar

from msgspec import UNSET, Struct, UnsetType

from akidb.domain.documents import Match, SearchStatistics

T = TypeVar("T")


class Page(list[T]):
    """A page of a list."""

    next_cursor: str | None
    """The `cursor` of the next page; None on the last."""

    damaged: int
    """Number of rows left out of this page because they are damaged; `doctor` finds them."""

    def __init__(self, items: Iterable[T], next_cursor: str | None, damaged: int | UnsetType = UNSET) -> None:
        super().__init__(items)
        self.next_cursor = next_cursor
        self.damaged = 0 if damaged is UNSET else damaged


class Matches(list[Match]):
    """The matches of a search, best first; equal scores are sorted by id."""

    statistics: SearchStatistics
    """How the search was executed."""

    def __init__(self, matches: Iterable[Match], statistics: SearchStatistics) -> None:
        super().__init__(matches)
        self.statistics = statistics


class UploadResult(Struct, kw_only=True, frozen=True):
    """What an upload has written, so far or in all."""

    documents: int
    """Documents of the input, with those that `mode` left out."""
    batches: int
    """Transactions."""
    upserted: int
    """Documents that were written."""
    truncated: int
    """Documents whose text is longer than the embedding model accepts."""
    truncated_ids: list[str]
    """The ids of the first 100 of them."""
