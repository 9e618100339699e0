"""The ids of a segment, and their positions."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Positions = NDArray[np.int64]


def hash_of(id: bytes) -> int:
    """Return the hash by which an id is found; not one that a user could find collisions of."""
    return int.from_bytes(hashlib.blake2b(id, digest_size=8).digest(), "little")


def ids_as_arrays(ids: Sequence[bytes]) -> dict[str, NDArray[Any]]:
    """Return the arrays `ids` and `offsets`."""
    offsets = np.zeros(len(ids) + 1, dtype=np.int64)
    np.cumsum(np.fromiter(map(len, ids), np.int64, len(ids)), out=offsets[1:])
    return {"ids": np.frombuffer(b"".join(ids), dtype=np.uint8), "offsets": offsets}


def look_up_arrays(ids: Sequence[bytes], dead: NDArray[np.bool_] | None = None) -> dict[str, NDArray[Any]]:
    """Return the arrays `hashes`, sorted, and `places`, the position of each.

    The first positions may be dead: their ids are not found, and may occur again.
    """
    hashes = np.array([hash_of(id) for id in ids], dtype=np.uint64)
    found = np.arange(len(ids)) if dead is None else _without(len(ids), dead)
    order = np.argsort(hashes[found], kind="stable")
    places = found[order].astype(np.uint32)
    return {"hashes": hashes[places], "places": places}


def _without(count: int, dead: NDArray[np.bool_]) -> Positions:
    found = np.ones(count, dtype=np.bool_)
    found[: len(dead)] = ~dead
    return np.flatnonzero(found)


class Ids(Sequence[str]):
    """The ids by position."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self._offsets: Positions = arrays["offsets"]
        self._hashes: Hashes = arrays["hashes"]
        self._places: NDArray[np.uint32] = arrays["places"]
        self._text = arrays["ids"].tobytes()
        self._ends = self._offsets.data
        """The same; faster where one number is read."""

    @property
    def memory_bytes(self) -> int:
        """Bytes in memory."""
        return self._offsets.nbytes + self._hashes.nbytes + self._places.nbytes + len(self._text)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, slice):
            return [self[each] for each in range(*at.indices(len(self)))]
        if not -len(self) <= at < len(self):
            raise IndexError(at)
        return self.raw(at % len(self)).decode()

    def raw(self, at: int) -> bytes:
        """Return the bytes of the id at a position that is not negative."""
        return self._text[self._ends[at] : self._ends[at + 1]]

    def at(self, positions: Positions) -> list[str]:
        """Return the ids at some positions."""
        text, ends = self._text, self._ends
        return [text[ends[at] : ends[at + 1]].decode() for at in positions.tolist()]

    def position(self, id: str) -> int | None:
        """Return the position of an id, None for one that is not here."""
        found = int(self.positions([id])[0])
        return None if found < 0 else found

    def positions(self, ids: Sequence[str]) -> Positions:
        """Return the positions of ids, -1 for those that are not here."""
        raw = [id.encode() for id in ids]
        wanted = np.array([hash_of(each) for each in raw], dtype=np.uint64)
        starts = np.searchsorted(self._hashes, wanted)
        found = np.full(len(raw), -1, dtype=np.int64)
        possible = np.flatnonzero(starts < len(self._hashes))
        possible = possible[self._hashes[starts[possible]] == wanted[possible]]
        for which in possible.tolist():
            found[which] = self._among(int(starts[which]), int(wanted[which]), raw[which])
        return found

    def _among(self, start: int, hash: int, id: bytes) -> int:
        """Return the position of an id among those with its hash."""
        while start < len(self._hashes) and int(self._hashes[start]) == hash:
            position = int(self._places[start])
            if self.raw(position) == id:
                return position
            start += 1
        return -1
