"""The memory that this process may use."""

import os
from contextlib import suppress
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_UNLIMITED = 2**60
"""Limits from here on are none: the first version of cgroups has such a number instead of a word."""


def memory_bytes(own: Path = Path("/proc/self/cgroup"), cgroups: Path = _CGROUPS) -> int:
    """Return the memory of the machine, or the least limit of the cgroups that this process is in.

    `own` names the cgroups of a process, as in `/proc`.
    """
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    with suppress(OSError, ValueError):
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                found += _limits(cgroups, path, "memory.max")
            elif "memory" in controllers.split(","):
                found += _limits(cgroups / "memory", path, "memory.limit_in_bytes")
    return min(found)


def _limits(root: Path, path: str, name: str) -> list[int]:
    """Return the limits of a cgroup and of those that it is in; in a container its own is the root."""
    folder = root / path.strip("/")
    found = []
    for each in (folder, *folder.parents):
        if not each.is_relative_to(root):
            break
        with suppress(OSError, ValueError):  # none, or the word `max`
            limit = int((each / name).read_text())
            if 0 < limit < _UNLIMITED:
                found.append(limit)
    return found
