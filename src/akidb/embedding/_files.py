"""How this layer writes, compares and locks files, so that a crash leaves no half of one."""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TEMPORARY = ".tmp-"
"""How the name of anything unfinished begins; under the lock, what is found of it is left over."""


def make_folder(path: Path) -> None:
    """Make `path`, readable by its owner only, unless it is there."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def temporary(folder: Path) -> Iterator[Path]:
    """Yield a new empty file (mode 0600) in `folder`, removed at the end if it is still there."""
    descriptor, name = tempfile.mkstemp(prefix=TEMPORARY, dir=folder)
    os.close(descriptor)
    path = Path(name)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def write(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file and wait until it is on the disk."""
    with path.open("wb") as file:
        file.writelines(chunks)
        file.flush()
        os.fsync(file.fileno())


def move(source: Path, target: Path) -> None:
    """Put `source` in the place of `target` in one step, so that either is found after a crash."""
    source.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def replace(target: Path, content: bytes) -> None:
    """Give `target` this content in one step."""
    with temporary(target.parent) as unfinished:
        write(unfinished, [content])
        move(unfinished, target)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file `path` against other processes and threads, waiting for it.

    The file stays: removing it would let two processes lock two files of one name.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        with suppress(OSError):
            os.close(descriptor)
