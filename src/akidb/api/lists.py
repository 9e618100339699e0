"""What all lists have in common: a page's size and where it starts."""

from typing import Annotated

import msgspec

from akidb.domain.documents import DEFAULT_PAGE_LIMIT, MAX_PAGE_LIMIT

Limit = Annotated[int, msgspec.Meta(ge=1, le=MAX_PAGE_LIMIT)]


class PageQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which part of a list."""

    limit: Limit = DEFAULT_PAGE_LIMIT
    cursor: str | None = None


class ChildQuery(PageQuery, kw_only=True, forbid_unknown_fields=True):
    """Which part, of those there are or of the deleted ones."""

    deleted: bool = False


class CountQuery(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What to count: those there are, or the deleted ones."""

    deleted: bool = False


class Count(msgspec.Struct):
    """How many there are."""

    count: int
