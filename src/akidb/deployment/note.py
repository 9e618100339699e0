"""The note that names the process that has a data directory open.

Read by clients too, which have none of the store's dependencies.
"""

import json
import os
from pathlib import Path

import msgspec

LOCK_NAME = "owner.lock"
"""The note."""
SOCKET_NAME = "akidb.sock"
METADATA_NAME = "metadata.db"


class Holder(msgspec.Struct):
    """Content of the note."""

    pid: int = 0
    process: str = "another process"
    socket: str | None = None
    directory: str | None = None
    """The path at which the process opened the directory."""


def read_holder(directory: Path) -> Holder:
    """Read the note. Without one, name at least the socket that a server listens on."""
    socket = directory / SOCKET_NAME
    unknown = Holder(socket=str(socket) if socket.is_socket() else None)
    try:
        descriptor = os.open(directory / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:  # removed
        return unknown
    try:
        return msgspec.convert(json.loads(os.pread(descriptor, 65536, 0)), Holder)
    except (ValueError, RecursionError, OSError):  # the holder is writing it right now
        return unknown
    finally:
        os.close(descriptor)


def published_socket(directory: Path) -> Path | None:
    """Return the socket of the server that has the directory open, as the note or the socket itself says.

    The server may have been killed since: then nothing listens there.
    """
    holder = read_holder(directory)
    if holder.socket is None or (holder.directory is not None and not is_same(holder.directory, directory)):
        return None  # where the directory was before there may be the socket of another server
    return Path(holder.socket)


def is_same(one: str, other: Path) -> bool:
    """Return whether both paths lead to the same directory."""
    try:
        return Path(one).samefile(other)
    except OSError:
        return False
