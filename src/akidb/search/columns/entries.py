"""The codes of one field in the rows of a part."""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Mask: TypeAlias = NDArray[np.bool_]
Positions: TypeAlias = NDArray[np.uint32]
Codes: TypeAlias = NDArray[np.unsignedinteger]

MAX_EDGES = 6
SPARSE_BELOW = 4
"""If a field is in less than one in this many rows, its entries have positions."""


class Entries(NamedTuple):
    """A code for each position, 0 where there is none; with `positions`, any number of codes for a row."""

    codes: Codes
    positions: Positions | None = None
    """Sorted; of the same length as `codes`."""

    def until(self, count: int) -> "Entries":
        """Return those of the positions below `count`."""
        if self.positions is None:
            return Entries(self.codes[:count])
        end = int(np.searchsorted(self.positions, count))
        return Entries(self.codes[:end], self.positions[:end])

    def where(self, passes: Mask, count: int) -> Mask:
        """Return the positions that have a code that passes; `passes` is false for code 0."""
        if self.positions is None:
            mask = np.zeros(count, dtype=np.bool_)
            mask[: len(self.codes)] = _passing(passes, self.codes)
            return mask
        mask = np.zeros(count, dtype=np.bool_)
        mask[self.positions[np.flatnonzero(_passing(passes, self.codes))]] = True
        return mask

    def among(self, mask: Mask) -> "Entries":
        """Return the entries of the positions of a mask, with positions."""
        if self.positions is None:
            chosen = np.flatnonzero(mask[: len(self.codes)])
            codes = self.codes[chosen]
            there = codes != 0
            return Entries(codes[there], chosen[there].astype(np.uint32))
        kept = mask[self.positions]
        return Entries(self.codes[kept], self.positions[kept])

    def rows(self) -> Positions:
        """Return the sorted positions that have a value."""
        if self.positions is None:
            return np.flatnonzero(self.codes).astype(np.uint32)
        return np.unique(self.positions)

    def packed(self, count: int) -> "Entries":
        """Return the same in the form that takes the least memory."""
        codes, positions = self
        if positions is None:
            there = np.flatnonzero(codes)
            if len(there) * SPARSE_BELOW < count:
                codes, positions = codes[there], there.astype(np.uint32)
        elif len(positions) * SPARSE_BELOW >= count and bool(np.all(positions[1:] > positions[:-1])):
            spread = np.zeros(int(positions[-1]) + 1, dtype=codes.dtype)
            spread[positions] = codes
            codes, positions = spread, None
        return Entries(codes.astype(code_type(int(codes.max(initial=0)))), positions)


def _passing(passes: Mask, codes: Codes) -> Mask:
    """Return `passes[codes]`."""
    if len(passes) * 4 < len(codes):
        # Few runs of codes pass: a comparison takes a twentieth of the time of a look-up.
        edges = np.flatnonzero(passes[1:] != passes[:-1]) + 1  # code 0 does not pass
        if len(edges) <= MAX_EDGES:
            bounds = edges.tolist()
            if len(bounds) % 2:
                bounds.append(len(passes))
            found = np.zeros(len(codes), dtype=np.bool_)
            for low, high in zip(bounds[::2], bounds[1::2], strict=True):
                found |= (codes >= low) & (codes <= high - 1) if high - low > 1 else codes == low
            return found
    return np.take(passes, codes)


def code_type(largest: int) -> type[np.unsignedinteger]:
    """Return the smallest type for codes up to `largest`."""
    return np.uint8 if largest < 2**8 else np.uint16 if largest < 2**16 else np.uint32


class GrowingEntries:
    """Entries that grow at their end. Not thread-safe; what `entries` returned before stays valid."""

    __slots__ = ("_codes", "_count", "_length", "_positions", "_types")

    def __init__(self) -> None:
        self._codes: Codes = np.empty(0, dtype=np.uint8)
        self._positions: Positions | None = None
        self._length = 0
        """Filled elements."""
        self._count = 0
        """Elements that are not 0."""

    @classmethod
    def of(cls, entries: Entries) -> "GrowingEntries":
        """Return what begins with these entries, whose arrays it takes."""
        made = cls()
        made._codes, made._positions = entries
        made._length = len(entries.codes)
        made._count = int(np.count_nonzero(entries.codes))
        return made

    @property
    def entries(self) -> Entries:
        """The entries so far."""
        positions = None if self._positions is None else self._positions[: self._length]
        return Entries(self._codes[: self._length], positions)

    @property
    def count(self) -> int:
        """The number of values."""
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self._codes.nbytes + (0 if self._positions is None else self._positions.nbytes)

    def extend(self, positions: list[int], codes: list[int]) -> None:
        """Add entries at positions that are not below the last one."""
        new = np.array(codes, dtype=np.uint32)
        at = np.array(positions, dtype=np.uint32)
        self._count += len(new)
        largest = code_type(int(new.max(initial=0)))
        if np.dtype(largest).itemsize > self._codes.itemsize:
            self._codes = self._codes.astype(largest)
        if self._positions is None and not self._is_dense(at):
            self._make_sparse()
        if self._positions is None:
            end = int(at[-1]) + 1
            self._reserve(end)
            self._codes[self._length : end] = 0
            self._codes[at] = new
            self._length = end
            return
        end = self._length + len(new)
        self._reserve(end)
        self._codes[self._length : end] = new
        self._positions[self._length : end] = at
        self._length = end

    def _is_dense(self, at: Positions) -> bool:
        single = int(at[0]) >= self._length and bool(np.all(at[1:] > at[:-1]))
        return single and int(at[-1]) < self._count * SPARSE_BELOW

    def _make_sparse(self) -> None:
        there = np.flatnonzero(self._codes[: self._length])
        self._codes = self._codes[there]
        self._positions = there.astype(np.uint32)
        self._length = len(there)

    def _reserve(self, length: int) -> None:
        if length <= len(self._codes):
            return
        capacity = max(length, len(self._codes) * 5 // 4)
        self._codes = _grown(self._codes, self._length, capacity)
        if self._positions is not None:
            self._positions = _grown(self._positions, self._length, capacity)


def _grown(array: Codes, length: int, capacity: int) -> Codes:
    grown = np.empty(capacity, dtype=array.dtype)
    grown[:length] = array[:length]
    return grown
