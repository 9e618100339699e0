"""Records what this process does to files below a directory, as events of `durability.py`.

Python's calls that sync, rename and remove stand recorded; before and after each of them the directory is
looked through, so that what was written, made and removed is seen whoever did it, SQLite too. What SQLite
syncs is not seen here, but by `recorded_system_calls.py`.
"""

import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from durability import Acknowledged, AllSynced, Event, Linked, Moved, Named, Removed, Synced, Written

Inode = tuple[int, int]


class _Seen(NamedTuple):
    """A name as it was when it was looked at last."""

    inode: Inode
    content: bytes


class RecordedCalls:
    """The events below a directory, with paths from there, since `recorded` began."""

    def __init__(self, directory: Path, closing: ExitStack) -> None:
        self.events: list[Event] = []
        self._directory = directory
        self._closing = closing
        self._lock = threading.RLock()
        # One for each file, and none is closed before the end: that would drop SQLite's locks.
        self._descriptors: dict[Inode, int] = {}
        self._seen = self._look()

    def look(self) -> None:
        """Note what changed since the last look."""
        with self._lock:
            before, self._seen = self._seen, self._look()
            for path, seen in before.items():
                if path not in self._seen or self._seen[path].inode != seen.inode:
                    self.events.append(Removed(path))
            for path, seen in self._seen.items():
                known = before.get(path)
                if known is None or known.inode != seen.inode:
                    self.events.append(Named(path))
                    if seen.content:
                        self.events.append(Written(path))
                elif known.content != seen.content:
                    self.events.append(Written(path))

    def acknowledge(self, what: str = "the end") -> None:
        """Say that what was done so far must be durable now."""
        self.look()
        self.events.append(Acknowledged(what))

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Stand before Python's own calls."""
        for name in ("fsync", "fdatasync"):
            patch.setattr(os, name, self._syncing(getattr(os, name)))
        patch.setattr(os, "sync", self._all_synced)
        patch.setattr(os, "rename", self._placing(os.rename, Moved))
        patch.setattr(os, "replace", self._placing(os.replace, Moved))
        patch.setattr(os, "link", self._placing(os.link, Linked))
        for name in ("unlink", "remove", "rmdir"):
            patch.setattr(os, name, self._watched(getattr(os, name)))

    def _syncing(self, call: Callable[[int], None]) -> Callable[[int], None]:
        def sync(descriptor: int) -> None:
            with self._lock:
                self.look()
                call(descriptor)
                status = os.fstat(descriptor)
                inode = (status.st_dev, status.st_ino)
                places = [path for path, seen in self._seen.items() if seen.inode == inode]
                self.events += map(Synced, places)

        return sync

    def _all_synced(self) -> None:
        """In place of `os.sync`, which would wait for whatever else the machine writes."""
        self.look()
        self.events.append(AllSynced())

    def _placing(self, call: Callable[..., None], event: type[Moved | Linked]) -> Callable[..., None]:
        def place(source: Any, target: Any, **options: Any) -> None:
            with self._lock:
                self.look()
                call(source, target, **options)
                paths = [self._name(Path(path).absolute()) for path in (source, target)]
                if paths[0] in self._seen:
                    self._seen[paths[1]] = self._seen[paths[0]]
                    if event is Moved:
                        del self._seen[paths[0]]
                    self.events.append(event(*paths))
                self.look()

        return place

    def _watched(self, call: Callable[..., None]) -> Callable[..., None]:
        def watched(*arguments: Any, **options: Any) -> None:
            with self._lock:
                self.look()
                call(*arguments, **options)
                self.look()

        return watched

    def _look(self) -> dict[str, _Seen]:
        found = {}
        for place in (self._directory, *sorted(self._directory.rglob("*"))):
            try:
                status = place.lstat()
            except FileNotFoundError:  # removed meanwhile
                continue
            inode = (status.st_dev, status.st_ino)
            if stat.S_ISDIR(status.st_mode):
                found[self._name(place)] = _Seen(inode, b"")
            elif stat.S_ISREG(status.st_mode):
                found[self._name(place)] = _Seen(inode, self._content(place, inode))
        return found

    def _name(self, path: Path) -> str:
        return Path(os.path.relpath(path, self._directory)).as_posix()

    def _content(self, path: Path, inode: Inode) -> bytes:
        descriptor = self._descriptors.get(inode)
        if descriptor is None:
            descriptor = self._descriptors[inode] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._closing.callback(os.close, descriptor)
        return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


@contextmanager
def recorded(directory: Path) -> Iterator[RecordedCalls]:
    """Record what this process does below a directory; every store in it is closed when the block ends."""
    with ExitStack() as closing, pytest.MonkeyPatch.context() as patch:
        calls = RecordedCalls(directory.resolve(), closing)
        calls.install(patch)
        yield calls
