"""The limits on what one operation may read for its answer."""

from typing import Any, NamedTuple

from akidb.domain.errors import InvalidArgument
from akidb.domain.filters import Filter
from akidb.ports.limits import Deadline


class AnswerLimits(NamedTuple):
    """Limits from the settings."""

    max_bytes: int
    """The size of the documents in one answer, about as long as they are in JSON."""
    filter_timeout_seconds: float
    """How long an operation may compare documents with its filter."""

    def deadline(self, filter: Filter | None) -> Deadline | None:
        """Return the deadline of an operation that begins now; None without a filter."""
        return None if filter is None else Deadline(self.filter_timeout_seconds)

    def refusal(self, field: str, remedy: str) -> InvalidArgument:
        """Return the error for a request that selects more than `max_bytes`."""
        return InvalidArgument(
            field,
            f"selects more than the {self.max_bytes} bytes that one answer may have;"
            f" use {remedy}, or leave text, metadata or vector out of include",
        )


def given_filter(value: Any) -> Filter | None:
    """Return a checked filter, or None if it matches every document."""
    return None if value is None or value.is_empty else value
