"""Checks that no other user can change a data directory, and takes from them the permission to read it."""

import os
import stat
from contextlib import suppress
from pathlib import Path

from akidb.domain.errors import Unavailable

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
OTHERS = stat.S_IRWXG | stat.S_IRWXO


def require_private(directory: Path, inner: tuple[str, ...]) -> None:
    """Check a data directory, and the directories and files in it that have these names, if they exist.

    Raises Unavailable if another user owns or may change one, or if one is a symbolic link. Changes nothing.
    """
    _check(directory, directory.stat())
    for name in inner:
        path = directory / name
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue
        if stat.S_ISLNK(found.st_mode):
            raise Unavailable(
                f"{path} is a symbolic link; replace it by what it leads to, or move the whole data directory"
            )
        _check(path, found)


def close_to_others(directory: Path) -> None:
    """Take the permission to read a directory from other users."""
    mode = stat.S_IMODE(directory.stat().st_mode)
    if mode & OTHERS:
        with suppress(OSError):  # a read-only file system: its files are readable only by their owner
            directory.chmod(mode & ~OTHERS)


def _check(path: Path, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise Unavailable(
            f"{path} belongs to user {found.st_uid}, but this process runs as user {os.geteuid()};"
            " run it as that user, or change the owner: chown -R"
        )
    if found.st_mode & OTHERS_WRITE:
        raise Unavailable(
            f"{path} can be changed by other users (mode {stat.S_IMODE(found.st_mode):04o});"
            f" take that from them: chmod go-w {path}"
        )
