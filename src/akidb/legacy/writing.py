"""Writes manifests into a directory so that a killed run can be repeated.

All manifests are written to a staging folder first, then moved to their final paths once they are synced to
disk. So a file at its final path is complete. Existing files are never replaced.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from akidb.domain.errors import InvalidArgument, Unavailable
from akidb.domain.migration import shown

STAGING = ".akidb-partial"
"""Staging folder within the directory."""


def is_safe(path: str) -> bool:
    """Whether a relative path stays within the directory it is relative to, and out of the staging folder."""
    names = path.split("/")
    return "\0" not in path and names[0] != STAGING and not any(name in {"", ".", ".."} for name in names)


class OutDirectory:
    """The output directory of the manifests; created if missing."""

    def __init__(self, directory: Path) -> None:
        """Raises InvalidArgument(`out`) for a non-directory, Unavailable if it cannot be read."""
        if os.path.lexists(directory) and not directory.is_dir():
            raise InvalidArgument("out", f"{shown(str(directory))} is not a directory")
        self._directory = directory
        self._staging = directory / STAGING
        self._written: list[str] = []
        self.existing: set[str] = set()
        """Paths of the existing files."""
        if directory.is_dir():
            with self._translated():
                self.existing = set(_files_below(str(directory)))

    def refuse_strangers(self, paths: set[str]) -> None:
        """Raise InvalidArgument(`out`) if a file exists that is not one of `paths`."""
        strangers = sorted(self.existing - paths)
        if strangers:
            raise InvalidArgument("out", f"is not empty: it contains {shown(strangers[0])}")

    def refuse_other(self, path: str, body: bytes) -> None:
        """Raise InvalidArgument(`out`) if the existing file has different content."""
        with self._translated():
            there = (self._directory / path).read_bytes()
        if there != body:
            raise InvalidArgument("out", f"is not empty: it contains a different {shown(path)}")

    def write(self, path: str, body: bytes) -> None:
        """Write a new file to the staging folder; `finish` moves it to its path."""
        with self._translated():
            if not self._written:
                self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
                self._staging.mkdir(exist_ok=True, mode=0o700)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(self._staging / str(len(self._written)), flags, 0o600), "wb") as file:
                file.write(body)
        self._written.append(path)

    def finish(self) -> None:
        """Sync the staged files to disk and move them to their paths."""
        with self._translated():
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            # One sync for all files: an fsync for each of 100,000 files takes minutes.
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
    """Create a directory and its parents, each accessible only to its owner."""
    if directory not in made:
        _make(directory.parent, made)
        directory.mkdir(mode=0o700, exist_ok=True)
        made.add(directory)


def _files_below(directory: str) -> Iterator[str]:
    """Yield the relative paths of all non-directories, including links, outside the staging folder."""
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
