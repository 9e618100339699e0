"""A store for tests and notebooks that vanishes when its connection is closed."""

import tempfile
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import replace

from akidb.deployment.local import open_local
from akidb.domain.errors import Unavailable
from akidb.operations.declare import Request
from akidb.settings import Settings

A = TypeVar("A")


class MemoryOperations:
    """`akidb.operations.Operations` of a directory of its own, removed on close or when the process ends.

    The directory is in the system's temporary one. If the process is killed, it stays behind there.
    """

    def __init__(self, settings: Settings) -> None:
        """Create the store. Commits do not wait for the disk."""
        try:
            self._folder = tempfile.TemporaryDirectory(prefix="akidb-memory-", ignore_cleanup_errors=True)
        except OSError as error:
            raise Unavailable(f"there is no temporary directory for :memory: {error}") from None
        directory = Path(self._folder.name) / "data"
        self._operations = open_local(directory, replace(settings, synchronous="normal"))

    def perform(self, request: Request[A], **ends: Any) -> A:
        """Execute a request, as specified by `akidb.operations.Operations`."""
        return self._operations.perform(request, **ends)

    def close(self) -> None:
        """Close the store and remove all that it has."""
        self._operations.close()
        self._folder.cleanup()
