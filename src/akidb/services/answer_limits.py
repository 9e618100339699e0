"""The limits on what one operation may read for its answer."""

from typing import NamedTuple

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
