"""Finds the manifests of a directory, and reads them.

Symbolic links are not followed: what they lead to within the directory is found by itself, and what lies
outside is none of it. So no loop can catch the search, and nothing is read twice.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from akidb.domain.errors import InvalidArgument
from akidb.domain.migration import SUFFIX
from akidb.ports.migration import FileProblem, FoundFiles, UnreadableFile

MAX_MANIFEST_BYTES = 8 * 2**20
"""Of which metadata of 1 MiB, all of it escaped, takes 6."""


def find(directory: Path) -> FoundFiles:
    """Look through a directory, at any depth, for files named `*.json` in any case of letters.

    Raises InvalidArgument(`v1_data_dir`) when there is no such directory.
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
            found.skipped.append(FileProblem(path, "is a symbolic link, which is not followed"))
    elif entry.is_dir():
        pending.append(path)
    elif named and entry.is_file():
        found.files.append(path)
    elif named:
        found.skipped.append(FileProblem(path, "is no regular file"))


def read(directory: Path, path: str) -> bytes:
    """The bytes of a file that `find` found. Raises UnreadableFile."""
    try:
        # What it was when it was found, it need not be any more: no link is followed, no pipe waited for.
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
        raise UnreadableFile("is no regular file")
    total = 0
    size = min(state.st_size, MAX_MANIFEST_BYTES) + 1  # one more, so that one read tells the end
    while part := os.read(descriptor, size):
        total += len(part)
        if total > MAX_MANIFEST_BYTES:
            raise UnreadableFile(f"is larger than {MAX_MANIFEST_BYTES} bytes, as no manifest is")
        yield part
        if total == state.st_size:
            return
