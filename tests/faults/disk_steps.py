"""Fault points: counts the disk steps of a change and makes one of them fail."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

import akidb.documents.sqlite
import akidb.sql.files
from akidb.sql.sqlite import SqliteFile

COMMITTED = "has committed"


class DiskSteps:
    """Notes each step; calls `fail` when the one numbered `fail_at` (from 0) is reached."""

    def __init__(self, fail_at: int = -1, fail: Callable[[str], None] = lambda step: None) -> None:
        self.seen: list[str] = []
        self._fail_at = fail_at
        self._fail = fail

    def reach(self, step: str) -> None:
        self.seen.append(step)
        if len(self.seen) - 1 == self._fail_at:
            self._fail(step)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Stand before and after commits, and before files are made, removed, and made durable."""
        self._install_commits(patch)
        for module, name in (
            (akidb.documents.sqlite, "create_file"),
            (akidb.documents.sqlite, "sync_directory"),
            (akidb.sql.files, "sync_directory"),
        ):
            patch.setattr(module, name, self._announced(getattr(module, name)))
        unlink = Path.unlink

        def announced_unlink(path: Path, missing_ok: bool = False) -> None:
            if missing_ok and not path.exists():
                return
            self.reach(f"unlink {path.suffix}")
            unlink(path, missing_ok=missing_ok)

        patch.setattr(Path, "unlink", announced_unlink)

    def _install_commits(self, patch: pytest.MonkeyPatch) -> None:
        original = SqliteFile.write

        @contextmanager
        def write(file: SqliteFile) -> Iterator[sa.Connection]:
            name = "metadata" if file.path.name == "metadata.db" else "store"
            with original(file) as connection:
                yield connection
                self.reach(f"{name} is about to commit")
            self.reach(f"{name} {COMMITTED}")

        patch.setattr(SqliteFile, "write", write)

    def _announced(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def announced(*args: Any) -> Any:
            self.reach(function.__name__)
            return function(*args)

        return announced
