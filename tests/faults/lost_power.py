"""Simulates a power loss: removes every byte of a store file that was not durable.

SQLite publishes a commit in the wal-index (`-shm`) only after it has synced the log, so the index says how
much of the log is durable; and a checkpoint counts its frames there only after it has synced the file.
https://www.sqlite.org/walformat.html describes both files.
"""

import random
import struct
from pathlib import Path

LOG_HEADER_BYTES, FRAME_HEADER_BYTES = 32, 24
MAX_FRAME_AT, BACKFILLED_AT = 16, 96


def lose_power(store: Path, rng: random.Random) -> int:
    """Spoil all of a copied store that a power loss may spoil; gives how many bytes that were."""
    log, index = store.with_name(f"{store.name}-wal"), store.with_name(f"{store.name}-shm")
    if not index.exists():
        return 0
    numbers = index.read_bytes()
    (durable,) = struct.unpack_from("=I", numbers, MAX_FRAME_AT)
    (backfilled,) = struct.unpack_from("=I", numbers, BACKFILLED_AT)
    index.write_bytes(rng.randbytes(len(numbers)))  # never synced, and made anew by the first who opens it
    return _spoil_log(log, durable, rng) + _spoil_pages(store, log, range(backfilled, durable), rng)


def _spoil_log(log: Path, frames: int, rng: random.Random) -> int:
    """Take or overwrite what follows so many frames."""
    content = bytearray(log.read_bytes())
    end = _frame_at(content, frames) if frames else 0
    at = rng.randint(end, max(end, len(content)))
    tail = len(content) - at
    kind = rng.choice(("truncated", "zeros", "noise", "sectors"))
    if kind == "truncated":
        del content[at:]
    elif kind == "zeros":
        content[at:] = bytes(tail)
    elif kind == "noise":
        content[at:] = rng.randbytes(tail)
    else:
        for sector in range(at, len(content) - 512, 512):
            if rng.random() < 0.5:
                content[sector : sector + 512] = rng.randbytes(512)
    log.write_bytes(content)
    return tail


def _spoil_pages(store: Path, log: Path, frames: range, rng: random.Random) -> int:
    """Overwrite pages that a checkpoint may have been writing: the log still has them."""
    content = log.read_bytes()
    spoilt = 0
    with store.open("r+b") as file:
        for frame in frames:
            at = _frame_at(content, frame)
            (page,) = struct.unpack_from(">I", content, at)
            (size,) = struct.unpack_from(">I", content, 8)
            if page > 1 and rng.random() < 0.5:  # of the first one SQLite reads the page size from the file
                file.seek((page - 1) * size)
                spoilt += file.write(rng.randbytes(size))
    return spoilt


def _frame_at(content: bytes | bytearray, frame: int) -> int:
    (size,) = struct.unpack_from(">I", content, 8)
    return LOG_HEADER_BYTES + frame * (FRAME_HEADER_BYTES + int(size))
