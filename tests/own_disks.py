"""Small file systems of tests marked `own_disk`, by a plugin of pytest.

Where this process may not mount one, each of these tests runs in a namespace.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

import pytest

ALONE = "AKIDB_TEST_IN_NAMESPACE"
NAMESPACE = ("unshare", "--user", "--map-root-user", "--mount")


@contextmanager
def mounted(directory: Path, options: str) -> Iterator[None]:
    """A file system in memory."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "akidb-test", directory], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", directory], check=True)


@cache
def _may_mount() -> bool:
    """Whether this machine lets its tests mount file systems."""
    try:
        with tempfile.TemporaryDirectory() as folder, mounted(Path(folder), "size=4096"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Replace the tests that cannot mount here by their runs in a user and mount namespace."""
    for item in items:
        if item.get_closest_marker("own_disk") is not None and not _may_mount():
            item.setup = lambda: None  # type: ignore[method-assign]
            item.runtest = partial(_run_in_namespace, item)  # type: ignore[method-assign]


def _run_in_namespace(item: pytest.Item) -> None:
    why = "neither this process nor one in a user namespace may mount a file system in memory"
    if ALONE in os.environ:
        pytest.fail(why)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    command = [*NAMESPACE, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", item.nodeid]
    done = subprocess.run(
        command,
        cwd=item.config.rootpath,
        env=kept | {ALONE: "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.fail(f"in a namespace ({why}, if it says so):\n{done.stdout}{done.stderr}", pytrace=False)
