"""How much memory and time a JSON body takes to decode, judged before it is decoded.

A list of three bytes becomes an object of 60, and Python's collector then visits it again and again; so the
number of values is bounded, not only the number of bytes.
"""

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from akidb.domain.errors import InvalidArgument

Body = bytes | bytearray
Between = Callable[[], None]

MAX_VALUES: Final = 1_000_000
"""Values in a body, apart from a batch of documents."""
MAX_CONTAINERS: Final = 1_000_000
"""Lists and objects in a batch: 100 for each document of the largest one."""
MAX_STRINGS: Final = 4_000_000
"""Strings in a batch, the names of members included."""
MAX_COMMAS: Final = 16_000_000
"""Commas in a batch, and so numbers: the size of the body permits half as many of usual length."""
MAX_PIECE_BYTES: Final = 8 * 2**20
"""A string, a number or a row of blanks: a text of 1 MiB may be six times as long as JSON."""
MAX_BLANK_BYTES: Final = 16 * 2**20
"""Blanks in rows of at least 8 KiB."""
MAX_DOCUMENT_VALUES: Final = 600_000
"""Values in a document: the longest vector, and metadata of 1 MiB."""
LIGHT_BYTES: Final = 64 * 1024
"""A body of up to this size is decoded without a look at it."""
_BLOCK_BYTES: Final = 2**18
_BLANK_BLOCK_BYTES: Final = 4096
_OTHERS = bytes(sorted(set(range(256)) - set(b'"[{,')))


class Weight(NamedTuple):
    """What JSON contains."""

    containers: int
    """Lists and objects."""
    strings: int
    commas: int

    @property
    def values(self) -> int:
        """At least the number of values."""
        return self.containers + self.commas


def at_once() -> None:
    """Do nothing between two blocks or documents."""


def check_values(body: Body, field: str, most: int, between: Between = at_once) -> None:
    """Raise InvalidArgument if JSON contains more values than this. Text is not counted as values."""
    if len(body) <= LIGHT_BYTES:
        return
    if quick_weight(body, between).values > most and exact_weight(body, between).values > most:
        raise InvalidArgument(field, f"must contain at most {most} values")


def check_batch_weight(body: Body, between: Between = at_once) -> None:
    """Raise InvalidArgument if a batch contains too many lists and objects, strings, or numbers."""
    weight = quick_weight(body, between)
    if weight.containers > MAX_CONTAINERS or weight.strings > MAX_STRINGS or weight.commas > MAX_COMMAS:
        weight = exact_weight(body, between)
    if weight.containers > MAX_CONTAINERS:
        raise InvalidArgument("documents", f"must contain at most {MAX_CONTAINERS} lists and objects")
    if weight.strings > MAX_STRINGS:
        raise InvalidArgument("documents", f"must contain at most {MAX_STRINGS} strings")
    if weight.commas > MAX_COMMAS:
        raise InvalidArgument("documents", f"must contain at most {MAX_COMMAS} commas")


def check_pieces(body: Body) -> None:
    """Raise InvalidArgument for a string or a number that is too long for any field, or for too many blanks.

    The decoder passes over each in one call, in which no other thread runs. A piece of more than twice the
    limit is always found, since it has a block without a delimiter.
    """
    size = MAX_PIECE_BYTES
    for at in range(0, len(body) - size + 1, size):
        if all(body.find(delimiter, at, at + size) < 0 for delimiter in (b'"', b",", b"[", b"{", b"]", b"}")):
            reason = f"must not contain a string, a number or blanks of more than {size} bytes"
            raise InvalidArgument("body", reason)
    if len(body) <= MAX_BLANK_BYTES:
        return
    with memoryview(body) as view:
        starts = range(0, len(body), _BLANK_BLOCK_BYTES)
        blank = sum(view[at : at + _BLANK_BLOCK_BYTES].tobytes().isspace() for at in starts)
    if blank * _BLANK_BLOCK_BYTES > MAX_BLANK_BYTES:
        raise InvalidArgument("body", f"must not contain more than {MAX_BLANK_BYTES} bytes of blanks")


def quick_weight(body: Body, between: Between = at_once) -> Weight:
    """Return upper bounds: characters in strings count too."""
    containers = count(body, b"[", between) + count(body, b"{", between)
    return Weight(containers, count(body, b'"', between) // 2, count(body, b",", between))


def count(body: Body, character: bytes, between: Between = at_once) -> int:
    """Count in blocks; other threads run between them, where `between` is called."""
    found = 0
    for at in range(0, len(body), _BLOCK_BYTES):
        between()
        found += body.count(character, at, at + _BLOCK_BYTES)
    return found


def exact_weight(body: Body, between: Between = at_once) -> Weight:
    """Count what valid JSON contains, in blocks that are copied one at a time."""
    at = containers = commas = quotes = 0
    while at < len(body):
        between()
        end = _after_escape(body, min(at + _BLOCK_BYTES, len(body)))
        block = bytes(body[at:end]).replace(b"\\\\", b"").replace(b'\\"', b"").translate(None, _OTHERS)
        pieces = block.split(b'"')
        outside = b"".join(pieces[quotes % 2 :: 2])
        commas += outside.count(b",")
        containers += len(outside) - outside.count(b",")
        quotes += len(pieces) - 1
        at = end
    return Weight(containers, quotes // 2, commas)


def _after_escape(body: Body, end: int) -> int:
    """Return an end of a block, at or after this one, that does not split an escape."""
    start = end
    while start and body[start - 1] == ord("\\"):
        start -= 1
    return min(end + (end - start) % 2, len(body))


_pause_lock = threading.Lock()
_pauses: list[bool] = []
"""For each pause in progress, whether the collector was enabled before."""


@contextmanager
def collector_paused(body: Body) -> Iterator[None]:
    """Pause Python's cyclic collector while a large body is decoded.

    Decoding makes no cycles; visiting what it has made so far takes three times as long as making it.
    """
    if len(body) <= LIGHT_BYTES:
        yield
        return
    with _pause_lock:
        _pauses.append(gc.isenabled() or any(_pauses))
        gc.disable()
    try:
        yield
    finally:
        with _pause_lock:
            if _pauses.pop() and not _pauses:
                gc.enable()
