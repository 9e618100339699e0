"""The documents that match a filter in the state of one reader."""

from heapq import nsmallest

import numpy as np
from numpy.typing import NDArray

from akidb.domain.field_values import SortKey
from akidb.domain.ordering import Ordered
from akidb.ports.documents import DocumentReader
from akidb.ports.limits import Deadline
from akidb.search.columns.contents import Contents
from akidb.search.columns.matching import Matching


class Seen:
    """The documents that match in a state; `mask` says which rows they are."""

    def __init__(self, found: Matching, sequence: int) -> None:
        """Take a state that `found` knows completely."""
        count = int(np.searchsorted(found.sequences, sequence, side="right"))
        self.state = found.state
        if sequence == found.sequence:
            self.mask = found.mask
        else:
            self.mask = found.content[:count] & (found.state.ends[:count] > sequence)

    def positions(self, after: str | None, limit: int) -> NDArray[np.intp]:
        """Return the first `limit` documents after an id, by id."""
        ids = self.state.versions.ids
        chosen = np.flatnonzero(self.mask).tolist()
        if after is not None:
            chosen = [at for at in chosen if ids[at] > after]
        if limit < len(chosen):
            chosen = nsmallest(limit, chosen, key=ids.__getitem__)
        else:
            chosen.sort(key=ids.__getitem__)
        return np.array(chosen, np.intp)

    def facet(
        self, field: str, documents: DocumentReader, deadline: Deadline | None
    ) -> dict[SortKey, int] | None:
        """Return how many documents have each value of a field; None if one is damaged.

        The reader is that of this state.
        """
        contents = Contents(self.state, documents)
        counts = self.state.versions.columns.facet(field, self.mask, contents, deadline)
        return None if contents.damaged else counts

    def order(
        self,
        field: str,
        documents: DocumentReader,
        deadline: Deadline | None,
        *,
        descending: bool,
        limit: int,
        after: tuple[SortKey, str] | None,
    ) -> list[Ordered] | None:
        """Return the first documents in the order of a field, by document key; None if one is damaged.

        The reader is that of this state.
        """
        contents = Contents(self.state, documents)
        found = self.state.versions.columns.order(
            field,
            self.mask,
            contents,
            descending=descending,
            limit=limit,
            after=after,
            deadline=deadline,
        )
        if contents.damaged:
            return None
        return [one._replace(position=int(self.state.keys[one.position])) for one in found]

    def keys(self, positions: NDArray[np.intp]) -> list[int]:
        """Return the document keys."""
        keys: list[int] = self.state.keys[positions].tolist()
        return keys
