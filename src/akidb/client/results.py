"""Results that are lists with extra attributes. They never call the server."""

from collections.abc import Iterable
from typing import NamedTuple, TypeVar

from msgspec import UNSET, Struct, UnsetType

from akidb.domain.documents import GroupValue, Match, SearchStatistics

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


class Group(NamedTuple):
    """The matches that have the same value of the field that a search groups by, best first."""

    value: GroupValue
    matches: list[Match]


class Matches(list[Match]):
    """The matches of a search, best first; equal scores are sorted by id."""

    statistics: SearchStatistics
    """How the search was executed."""

    next_cursor: str | None
    """The `cursor` of the next page; None on the last, and with groups."""

    def __init__(
        self, matches: Iterable[Match], statistics: SearchStatistics, next_cursor: str | None = None
    ) -> None:
        super().__init__(matches)
        self.statistics = statistics
        self.next_cursor = next_cursor

    @property
    def groups(self) -> list[Group]:
        """The matches by group, the group with the best match first; empty without `group_by`."""
        found: list[Group] = []
        for match in self:
            if match.group is None:
                continue
            if not found or _key(found[-1].value) != _key(match.group):
                found.append(Group(match.group, []))
            found[-1].matches.append(match)
        return found


def _key(value: GroupValue) -> tuple[bool, GroupValue]:
    return type(value) is bool, value  # in Python True equals 1


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
    without_vector: int
    """Documents that are stored without a vector."""


class LoadResult(UploadResult, kw_only=True, frozen=True):
    """What a load has written, so far or in all, and before it was resumed."""

    resumed_after: int
    """Documents that an interrupted load had written before."""
    total: int | None
    """Documents in the file; None if its format does not say."""
