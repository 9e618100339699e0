"""Which documents of a collection match a filter."""

from typing import NamedTuple

import numpy as np

from akidb.search.columns.entries import Mask
from akidb.search.columns.versions import Numbers, Versions


class State(NamedTuple):
    """What readers see: all rows up to a sequence, and those that ended not long before."""

    versions: Versions
    sequence: int
    keys: Numbers
    sequences: Numbers
    ends: Numbers
    since: int
    """From this sequence on all states of the collection are known."""
    damaged: int
    """The number of documents left out because they are damaged."""

    @property
    def size(self) -> int:
        """The number of rows."""
        return len(self.keys)


class Matching:
    """Which documents match a filter, in one state of the collection; the arrays are not to be changed."""

    __slots__ = ("complete_from", "content", "damaged", "keys", "mask", "sequence", "sequences", "state")

    def __init__(self, state: State, mask: Mask, content: Mask, complete_from: int) -> None:
        self.state = state
        self.sequence = state.sequence
        """The collection's sequence in this state."""
        self.keys = state.keys
        self.sequences = state.sequences
        """Ascending: each version of a document has its own. Some rows are of earlier versions."""
        self.mask = mask
        """The rows that match, of the current ones."""
        self.content = content
        """The rows that match, current or not."""
        self.complete_from = complete_from
        """From this sequence on, up to `sequence`, `of` knows all rows of the collection's states.

        Later than `sequence` if the mask itself is not known: the reader was older than the columns, and rows
        had to be read.
        """
        self.damaged = state.damaged
        """The number of documents left out because they are damaged."""

    def of(self, sequences: Numbers) -> Mask:
        """Return which versions of documents match, whether current or not; false for unknown ones."""
        if not len(self.sequences):
            return np.zeros(len(sequences), np.bool_)
        at = np.searchsorted(self.sequences, sequences)
        at[at == len(self.sequences)] = 0
        mask: Mask = self.content[at] & (self.sequences[at] == sequences)
        return mask
