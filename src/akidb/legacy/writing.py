"""Writes manifests into a directory, such that a run which was killed can be run again.

All of them are written into a folder of their own first; once they are on the disk they go to their places.
So a file that is in its place is whole. Nothing that is there is replaced, and nothing is written elsewhere.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from akidb.domain.errors import InvalidArgument, Unavailable
from akidb.domain.migration import shown

STAGING = ".akidb-partial"
"""The folder, in the directory itself, of what is not in its place yet."""


def is_safe(path: str) -> bool:
    """Whether a relative path stays within the directory it is relative to, and out of the staging folder."""
    names = path.split("/")
    return "\0" not in path and names[0] != STAGING and not any(name in {"", ".", ".."} for name in names)


class OutDirectory:
    """The directory that the manifests go to; made when there is none."""

    def __init__(self, directory: Path) -> None:
        """Raises InvalidArgument(`out`) for what is no directory, Unavailable when it cannot be read."""
        if os.path.lexists(directory) and not directory.is_dir():
            raise InvalidArgument("out", f"{shown(str(directory))} is not a directory")
        self._directory = directory
        self._staging = directory / STAGING
        self._written: list[str] = []
        self.existing: set[str] = set()
        """The paths of the files in it."""
        if directory.is_dir():
            with self._translated():
                self.existing = set(_files_below(str(directory)))

    def refuse_strangers(self, paths: set[str]) -> None:
        """Raise InvalidArgument(`out`) when there is a file that is none of these."""
        strangers = sorted(self.existing - paths)
        if strangers:
            raise InvalidArgument("out", f"is not empty: it holds {shown(strangers[0])}")

    def refuse_other(self, path: str, body: bytes) -> None:
        """Raise InvalidArgument(`out`) when the file is there with other bytes."""
        with self._translated():
            there = (self._directory / path).read_bytes()
        if there != body:
            raise InvalidArgument("out", f"is not empty: it holds another {shown(path)}")

    def write(self, path: str, body: bytes) -> None:
        """Write a file that is not there; it comes to its place in `finish`."""
        with self._translated():
            if not self._written:
                self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._staging.mkdir(exist_ok=True, mode=0o700)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(self._staging / str(len(self._written)), flags, 0o600), "wb") as file:
                file.write(body)
        self._written.append(path)

    def finish(self) -> None:
        """Have what was written reach the disk, and put it into its places."""
        with self._translated():
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            # One call for all: an fsync for each of 100,000 files takes minutes.
            os.sync()
            made: set[Path] = {self._directory}
            for number, path in enumerate(self._written):
                target = self._directory / path
                _make(target.parent, made)
                (self._staging / str(number)).rename(target)
            shutil.rmtree(self._staging, ignore_errors=True)
            os.sync()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Unavailable(f"{shown(str(self._directory))}: {error.strerror}") from error


def _make(directory: Path, made: set[Path]) -> None:
    """Make a directory and those above it, each of them for its owner alone."""
    if directory not in made:
        _make(directory.parent, made)
        directory.mkdir(mode=0o700, exist_ok=True)
        made.add(directory)


def _files_below(directory: str) -> Iterator[str]:
    """All that is no directory, links among it, by its path from there; what is staged is left out."""
    pending = [""]
    while pending:
        below = pending.pop()
        with os.scandir(f"{directory}/{below}") as entries:
            for entry in entries:
                path = f"{below}{entry.name}"
                if not entry.is_dir(follow_symlinks=False):
                    yield path
                elif path != STAGING:
                    pending.append(f"{path}/")
