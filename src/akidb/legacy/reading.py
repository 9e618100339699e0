"""Finds and reads the manifests of a directory.

Symbolic links are not followed: targets within the directory are found anyway, and targets outside do not
belong to it. So the search cannot loop, and nothing is read twice.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from akidb.domain.errors import InvalidArgument
from akidb.domain.migration import SUFFIX
from akidb.ports.migration import FileProblem, FoundFiles, UnreadableFile

MAX_MANIFEST_BYTES = 8 * 2**20
"""Fully escaped metadata of 1 MiB takes 6 MiB of these."""


def find(directory: Path) -> FoundFiles:
    """Search a directory recursively for files named `*.json`, case-insensitively.

    Raises InvalidArgument(`v1_data_dir`) if it is not a directory.
    """
    found = FoundFiles([], [], [])
    if not directory.is_dir():
        raise InvalidArgument("v1_data_dir", f"{directory} is not a directory")
    pending = [""]
    while pending:
        below = pending.pop()
        try:
            with os.scandir(directory / below) as entries:
                for entry in entries:
                    _sort_in(entry, os.path.join(below, entry.name), found, pending)  # noqa: PTH118 - 10 x faster
        except OSError as error:
            found.faults.append(FileProblem(below or ".", f"the directory cannot be read: {error.strerror}"))
    found.files.sort()
    found.skipped.sort()
    found.faults.sort()
    return found


def _sort_in(entry: os.DirEntry[str], path: str, found: FoundFiles, pending: list[str]) -> None:
    named = entry.name.lower().endswith(SUFFIX)
    if entry.is_symlink():
        if named or entry.is_dir():
            found.skipped.append(FileProblem(path, "is a symbolic link; links are not followed"))
    elif entry.is_dir():
        pending.append(path)
    elif named and entry.is_file():
        found.files.append(path)
    elif named:
        found.skipped.append(FileProblem(path, "is not a regular file"))


def read(directory: Path, path: str) -> bytes:
    """Return the bytes of a file returned by `find`. Raises UnreadableFile."""
    try:
        # The file may have been replaced since it was found: do not follow a link or block on a pipe.
        descriptor = os.open(
            f"{directory}/{path}", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        )
        try:
            return b"".join(_parts(descriptor))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UnreadableFile(f"cannot be read: {error.strerror}") from None


def _parts(descriptor: int) -> Iterator[bytes]:
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode):
        raise UnreadableFile("is not a regular file")
    total = 0
    size = min(state.st_size, MAX_MANIFEST_BYTES) + 1  # one more, so that one read detects the end
    while part := os.read(descriptor, size):
        total += len(part)
        if total > MAX_MANIFEST_BYTES:
            raise UnreadableFile(f"is larger than {MAX_MANIFEST_BYTES} bytes, the limit of a manifest")
        yield part
        if total == state.st_size:
            return
