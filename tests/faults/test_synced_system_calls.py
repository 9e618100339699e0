"""Nothing is acknowledged before it is synced, checked in the system calls, including SQLite's."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from durability import (
    Acknowledged,
    AllSynced,
    Event,
    Linked,
    Moved,
    Named,
    Removed,
    Synced,
    Written,
    violations,
)
from recorded_system_calls import events, recorded
from volatile_files import DECIDING, VOLATILE

WORK = Path(__file__).with_name("durable_work.py")
SAMPLES = Path(__file__).parents[1] / "data/v1-manifests"


@pytest.mark.slow
def test_nothing_is_acknowledged_before_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs `strace`, and fails where there is none."""
    for setting in [name for name in os.environ if name.startswith("AKIDB_")]:
        monkeypatch.delenv(setting)
    place = tmp_path / "work"
    place.mkdir()
    found = recorded([sys.executable, WORK, place, SAMPLES], place, tmp_path / "record")
    said = [event.what.removesuffix(r"\n") for event in found if isinstance(event, Acknowledged)]
    for what in ("documents", "a backup", "a copied tenant", "a purged tenant", "an import"):
        assert what in said
    for what in ("migrate schema", "migrate v1-to-v2", "migrate v2-to-v1"):
        assert f"ended: {what}" in said
    assert violations(found, VOLATILE, DECIDING) == []
    for kind in _KINDS:
        assert violations(_without(found, kind), VOLATILE, DECIDING) != [], kind


_KINDS = ("metadata.db", "metadata.db-wal", "tenants", "data", "back", "all.akidb", ".", "backups")
"""Names of files and directories; were they not synced, that would be seen."""


def _without(events: Sequence[Event], name: str) -> list[Event]:
    """The events as if nothing of this name had been synced."""
    return [
        event
        for event in events
        if not (
            isinstance(event, AllSynced)
            if name == "back"
            else isinstance(event, Synced) and _name(event.path) == name
        )
    ]


def _name(path: str) -> str:
    """The last part of a path; of a file in the making, the name that it is to have."""
    name = Path(path).name or "."
    return name.removeprefix(".").rsplit(".", 2)[0] if name.endswith(".part") else name


RECORD = """\
10 openat(AT_FDCWD</w>, "/d/a", O_RDWR|O_CREAT|O_CLOEXEC, 0600) = 3</d/a>
10 openat(AT_FDCWD</w>, "/d/a", O_RDWR|O_CREAT|O_CLOEXEC, 0600) = 3</d/a>
10 openat(AT_FDCWD</w>, "/d/b", O_RDONLY) = -1 ENOENT (No such file or directory)
10 openat(AT_FDCWD</w>, "/d/old", O_WRONLY|O_CREAT|O_TRUNC, 0600) = 4</d/old>
10 write(4</d/old>, "SQLite \\"\\0\\1\\2"..., 4096) = 4096
10 pwrite64(3</d/a>, "x", 1, 0) = 1
10 pwrite64(3</d/a>, "x", 1, 0) = -1 ENOSPC (No space left on device)
10 ftruncate(3</d/a>, 0) = 0
10 mmap(NULL, 32768, PROT_READ|PROT_WRITE, MAP_SHARED, 5</d/a-shm>, 0) = 0x7f1
10 mmap(NULL, 32768, PROT_READ, MAP_SHARED, 5</d/a-shm>, 0) = 0x7f1
10 fdatasync(3</d/a>) = 0
10 fsync(3</elsewhere/a>) = 0
10 sync() = 0
10 mkdir("/d/below", 0700) = 0
10 mkdir("/d/below", 0700) = -1 EEXIST (File exists)
10 renameat2(AT_FDCWD</w>, "/d/a", 6</d/below>, "a", RENAME_NOREPLACE) = 0
10 link("/d/below/a", "/d/c") = 0
10 unlinkat(6</d/below>, "a", 0) = 0
10 rmdir("/d/below") = 0
10 --- SIGCHLD {si_signo=SIGCHLD, si_pid=11} ---
10 write(2<pipe:[7]>, "not an answer", 13) = 13
10 write(1<pipe:[7]>, "done\\n", 5) = 5
10 write(4</d/old (deleted)>, "x", 1) = 1
"""


def test_system_calls_are_parsed_as_events() -> None:
    assert list(events(RECORD.splitlines(keepends=True), Path("/d"), {"old"})) == [
        Named("a"),
        Written("old"),
        Written("old"),
        Written("a"),
        Written("a"),
        Written("a-shm"),
        Synced("a"),
        AllSynced(),
        Named("below"),
        Moved("a", "below/a"),
        Linked("below/a", "c"),
        Removed("below/a"),
        Removed("below"),
        Acknowledged(r"done\n"),
    ]


INTERRUPTED = """\
10 pwrite64(3</d/a>, "x", 1, 0 <unfinished ...>
11 fsync(3</d/a> <unfinished ...>
10 <... pwrite64 resumed>) = 1
10 fsync(4</d> <unfinished ...>
11 <... fsync resumed>) = 0
11 write(1<pipe:[7]>, "done\\n", 5) = 5
10 <... fsync resumed>) = -1 EIO (Input/output error)
"""


def test_write_during_sync_of_another_thread_is_not_counted_as_synced() -> None:
    found = list(events(INTERRUPTED.splitlines(keepends=True), Path("/d")))
    assert found == [Synced("a"), Written("a"), Acknowledged(r"done\n")]
    assert violations(found) == [r"a: the content is not synced at: done\n"]
