"""Records what a program and its children do to files below a directory, as events of `durability.py`.

`strace` records the system calls, so that SQLite's are among them. What is written to standard output is
an acknowledgement.
"""

import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from durability import Acknowledged, AllSynced, Event, Linked, Moved, Named, Removed, Synced, Written

_WRITING = {"write", "pwrite64", "writev", "pwritev", "pwritev2", "ftruncate", "fallocate"}
_COPYING = {"sendfile", "copy_file_range"}
_SYNCING = {"fsync", "fdatasync"}
_ALL = {"sync", "syncfs"}
_MOVING = {"rename", "renameat", "renameat2"}
_LINKING = {"link", "linkat"}
_MAKING = {"mkdir", "mkdirat"}
_REMOVING = {"unlink", "unlinkat", "rmdir"}
_OPENING = {"open", "openat", "creat"}
TRACED = {
    *(_WRITING | _COPYING | _SYNCING | _ALL | _MOVING | _LINKING | _MAKING | _REMOVING | _OPENING),
    *("mmap", "truncate"),
}
MAX_STRING = 120
"""What is kept of what is written, in bytes."""
_UNFINISHED = " <unfinished ...>"
_LINE = re.compile(r"(\d+) +(?:(\w+)\((.*)|<\.\.\. (\w+) resumed>(.*))")
_RESULT = re.compile(r"(.*)\) += (-?\d+)(?:<([^>]*)>)?.*")
_DESCRIPTOR = re.compile(r"(\d+)<([^>]*)>")
_PATH = re.compile(r'(?:(?:\d+|AT_FDCWD)<([^>]*)>, )?"((?:[^"\\]|\\.)*)"')
_TEXT = re.compile(r', "((?:[^"\\]|\\.)*)"')
_STANDARD_OUTPUT = "1"


class _Call(NamedTuple):
    """A system call that succeeded."""

    name: str
    arguments: str
    opened: str
    """The path of the descriptor that it gave, empty when it gave none."""


def recorded(command: Sequence[str | Path], directory: Path, record: Path) -> list[Event]:
    """Run a program to its end; raises CalledProcessError when it fails.

    The paths in the events are from the directory, and so is what was there before.
    """
    before = {path.relative_to(directory).as_posix() for path in directory.rglob("*")}
    options = ("-f", "-y", "-qq", "-s", str(MAX_STRING), "-e", f"trace={','.join(sorted(TRACED))}")
    subprocess.run(["strace", "-o", record, *options, *command], check=True, stdout=subprocess.PIPE)
    with record.open(encoding="utf-8", errors="replace") as lines:
        return list(events(lines, directory.resolve(), before))


def events(lines: Iterable[str], directory: Path, before: Iterable[str] = ()) -> Iterator[Event]:
    """Read what `strace -f -y` wrote."""
    there = set(before)
    for call in _calls(lines):
        for event in _events_of(call, directory, there):
            if isinstance(event, Named):
                there.add(event.path)
            elif isinstance(event, Removed):
                there.discard(event.path)
            elif isinstance(event, Moved):
                there.discard(event.source)
                there.add(event.target)
            elif isinstance(event, Linked):
                there.add(event.target)
            yield event


def _calls(lines: Iterable[str]) -> Iterator[_Call]:
    """The calls that succeeded, each where it ended.

    One that syncs, and was interrupted in the record by other threads, stands where it began: what they
    wrote meanwhile may not be synced.
    """
    kept: list[_Call | None] = []
    begun: dict[str, tuple[int, str]] = {}
    for line in lines:
        found = _LINE.match(line.rstrip("\n"))
        if found is None:  # a signal, the end of a process
            continue
        process, name, rest, resumed, more = found.groups()
        if name is not None and rest.endswith(_UNFINISHED):
            begun[process] = (len(kept), rest.removesuffix(_UNFINISHED))
            kept.append(None)
            continue
        at = len(kept)
        kept.append(None)
        if name is None:
            name = resumed
            start, first = begun.pop(process, (at, ""))
            rest = first + more
            at = start if name in _SYNCING | _ALL else at
        result = _RESULT.match(rest)
        if result is not None and int(result[2]) >= 0:
            kept[at] = _Call(name, result[1], result[3] or "")
    return (call for call in kept if call is not None)


def _events_of(call: _Call, directory: Path, there: set[str]) -> Iterator[Event]:
    descriptor = _DESCRIPTOR.match(call.arguments)
    on = None if descriptor is None else _below(descriptor[2], directory)
    paths = [_below(str(PurePosixPath(at, name)), directory) for at, name in _PATH.findall(call.arguments)]
    first = paths[0] if paths else None
    if call.name in _ALL:
        yield AllSynced()
    elif call.name in _WRITING | _COPYING and on is not None:
        yield Written(on)
    elif call.name in {"write", "writev"} and descriptor is not None and descriptor[1] == _STANDARD_OUTPUT:
        text = _TEXT.search(call.arguments)
        yield Acknowledged("" if text is None else text[1])
    elif call.name in _SYNCING and on is not None:
        yield Synced(on)
    elif call.name == "mmap":
        shared = _DESCRIPTOR.search(call.arguments)
        mapped = None if shared is None else _below(shared[2], directory)
        if mapped is not None and "PROT_WRITE" in call.arguments and "MAP_SHARED" in call.arguments:
            yield Written(mapped)
    elif call.name == "truncate" and first is not None:
        yield Written(first)
    elif call.name in _OPENING:
        opened = _below(call.opened, directory)
        if opened is not None and opened not in there and "O_CREAT" in call.arguments:
            yield Named(opened)
        elif opened is not None and "O_TRUNC" in call.arguments:
            yield Written(opened)
    elif call.name in _MAKING and first is not None:
        yield Named(first)
    elif call.name in _REMOVING and first is not None:
        yield Removed(first)
    elif call.name in _MOVING | _LINKING and first is not None and paths[1] is not None:
        yield (Moved if call.name in _MOVING else Linked)(first, paths[1])


def _below(path: str, directory: Path) -> str | None:
    """The path from the directory, None for what is not below it or has no name."""
    place = PurePosixPath(path)
    if not place.is_relative_to(directory) or path.endswith(" (deleted)"):
        return None
    return place.relative_to(directory).as_posix()
