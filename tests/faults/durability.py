"""The durability rule: given file events in order, finds what a power loss could undo.

An event names what was done to a path. `violations` reads them from the beginning; recordings that make
events are `recorded_calls.py`, for this process, and `recorded_system_calls.py`, for any program.
"""

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import NamedTuple


class Written(NamedTuple):
    """The content of a file changed, or its length."""

    path: str


class Named(NamedTuple):
    """A file or a directory was made."""

    path: str


class Removed(NamedTuple):
    """A name was removed."""

    path: str


class Moved(NamedTuple):
    """A file was given another name; what had that name is gone."""

    source: str
    target: str


class Linked(NamedTuple):
    """A file was given one more name."""

    source: str
    target: str


class Synced(NamedTuple):
    """The content of a file, or the names in a directory, are on the disk."""

    path: str


class AllSynced(NamedTuple):
    """All that was done before is on the disk."""


class Acknowledged(NamedTuple):
    """Somebody was told that it is done."""

    what: str


Event = Written | Named | Removed | Moved | Linked | Synced | AllSynced | Acknowledged
Volatile = Mapping[str, str]
"""Patterns of paths that need not be durable, with the reason; each begins with `*` and a slash or a name."""

LOG = "-wal"
"""How the name of SQLite's log ends. It is removed when all of it is in the file: should it come back whole
after a power loss, it says what the file says. Half of it would not."""


def violations(
    events: Iterable[Event], volatile: Volatile | None = None, deciding: frozenset[str] = frozenset()
) -> list[str]:
    """What was not durable when it had to be.

    - When something is acknowledged, or a name that is `deciding` is removed, every content is synced that
      was written, and every directory is synced in which a name was made or removed.
    - When a file takes its place, by a rename or a link, its content is synced.
    """
    disk = _Disk(volatile or {})
    found: list[str] = []
    for event in events:
        if isinstance(event, Acknowledged):
            found += disk.lost(event.what)
        elif isinstance(event, Removed) and PurePosixPath(event.path).name in deciding:
            found += disk.lost(f"the removal of {PurePosixPath(event.path).name}")
        found += disk.take(event)
    return found


class _Disk:
    """What is not on the disk yet."""

    def __init__(self, volatile: Volatile) -> None:
        self._volatile = volatile
        self._contents: dict[str, None] = {}
        self._names: dict[str, str] = {}
        """Names that were changed since their directory was synced, and how."""
        self._empty_logs: set[str] = set()
        """Logs that hold nothing, which nobody misses."""

    def take(self, event: Event) -> Iterator[str]:
        match event:
            case Written(path):
                self._contents[path] = None
                if path in self._empty_logs:
                    self._empty_logs.discard(path)
                    self._names[path] = "made"
            case Named(path) if path.endswith(LOG):
                self._empty_logs.add(path)
            case Named(path):
                self._names[path] = "made"
            case Removed(path):
                self._remove(path)
            case Moved(source, target) | Linked(source, target):
                yield from self._place(source, target)
                if isinstance(event, Moved):
                    self._contents.pop(source, None)
                    self._names[source] = "moved away"
            case Synced(path):
                self._contents.pop(path, None)
                for name in [name for name in self._names if _is_in(name, path)]:
                    del self._names[name]
                self._empty_logs = {log for log in self._empty_logs if not _is_in(log, path)}
            case AllSynced():
                self._contents.clear()
                self._names.clear()
                self._empty_logs.clear()
            case Acknowledged():
                pass

    def lost(self, what: str) -> list[str]:
        """What a power loss could take at this point; each thing is told once."""
        contents = [path for path in self._contents if not self._is_volatile(path)]
        names = {path: how for path, how in self._names.items() if not self._is_volatile(path)}
        for path in contents:
            del self._contents[path]
        for path in names:
            del self._names[path]
        return [f"{path}: the content is not synced at: {what}" for path in contents] + [
            f"{path}: {how}, and its directory is not synced at: {what}" for path, how in names.items()
        ]

    def _remove(self, path: str) -> None:
        for below in [name for name in self._names if name.startswith(f"{path}/")]:
            del self._names[below]  # it goes with what it was in
        was_synced = path not in self._contents
        self._contents.pop(path, None)
        self._empty_logs.discard(path)
        if path.endswith(LOG) and was_synced:
            self._names.pop(path, None)
        else:
            self._names[path] = "removed"

    def _place(self, source: str, target: str) -> Iterator[str]:
        self._contents.pop(target, None)
        self._names[target] = "made"
        if source in self._contents:
            self._contents[target] = None
            if not self._is_volatile(target):
                yield f"{target}: it took its place before its content was synced"

    def _is_volatile(self, path: str) -> bool:
        return any(fnmatchcase(f"/{path}", pattern) for pattern in self._volatile)


def _is_in(path: str, directory: str) -> bool:
    return str(PurePosixPath(path).parent) == directory
