"""Chroma as a peer, where it is installed: `pip install 'akidb[bench]'`."""

from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any


@contextmanager
def started() -> Iterator[Any]:
    """Chroma's persistent client and admin client in a temporary directory, or None if not installed."""
    try:
        import chromadb
        from chromadb.config import Settings
    except ImportError:
        yield None
        return
    with TemporaryDirectory(prefix="akidb-bench-chroma-", ignore_cleanup_errors=True) as directory:
        settings = Settings(anonymized_telemetry=False, is_persistent=True, persist_directory=directory)
        yield chromadb.PersistentClient(path=directory, settings=settings), chromadb.AdminClient(settings)
