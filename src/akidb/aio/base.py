"""The base class of the awaitable handles."""

from typing import Generic, TypeVar

from akidb.client.threads import Threads

H = TypeVar("H")


class Twin(Generic[H]):
    """The awaitable twin of a handle. Two are equal if their handles are."""

    __slots__ = ("_sync", "_threads")

    def __init__(self, handle: H, threads: Threads) -> None:
        self._sync = handle
        self._threads = threads

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Twin) or type(other) is not type(self):
            return NotImplemented
        return bool(self._sync == other._sync)

    def __hash__(self) -> int:
        return hash(self._sync)
