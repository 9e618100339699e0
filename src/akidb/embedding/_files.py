"""Crash-safe writing, hashing and locking of files."""

import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

TEMPORARY = ".tmp-"
"""Prefix of unfinished files; under the lock, any such file is a leftover."""


def make_folder(path: Path) -> None:
    """Create `path`, readable by its owner only, unless it exists."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)


def sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def temporary(folder: Path) -> Iterator[Path]:
    """Yield a new empty file (mode 0600) in `folder`, removed at the end if it still exists."""
    descriptor, name = tempfile.mkstemp(prefix=TEMPORARY, dir=folder)
    os.close(descriptor)
    path = Path(name)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def write(path: Path, chunks: Iterable[bytes]) -> None:
    """Write a file and sync it to disk."""
    with path.open("wb") as file:
        file.writelines(chunks)
        file.flush()
        os.fsync(file.fileno())


def move(source: Path, target: Path) -> None:
    """Atomically replace `target` with `source`, and sync the directory."""
    source.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def replace(target: Path, content: bytes) -> None:
    """Atomically replace the content of `target`."""
    with temporary(target.parent) as unfinished:
        write(unfinished, [content])
        move(unfinished, target)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on the file `path` against other processes and threads; wait for it.

    The file is not removed: otherwise two processes could lock two files with the same name.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        with suppress(OSError):
            os.close(descriptor)
