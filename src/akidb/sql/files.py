"""Durable creation of files and directories, and fsync. Never opens a live database file itself."""

import os
from contextlib import suppress
from pathlib import Path


def create_file(path: Path) -> None:
    """Durably create an empty file, readable only by its owner."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    os.close(descriptor)
    sync_directory(path.parent)


def make_directory(directory: Path) -> None:
    """Durably create a directory and its parents, accessible only by their owner.

    Does nothing if it exists.
    """
    made = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in made:
        with suppress(PermissionError):  # a writable directory may not be readable
            sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Fsync a directory."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_log(path: Path) -> None:
    """Fsync a truncated log, which could otherwise reappear with its contents after a crash.

    SQLite does not do that. It holds no lock on its log that closing a descriptor could drop.
    """
    descriptor = os.open(f"{path}-wal", os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
