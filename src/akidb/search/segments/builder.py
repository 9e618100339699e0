"""Builds of segments by child processes, and the directory of a collection's segments.

    <index directory>/<store_id>/<collection_id>/<name of a segment>/
                                               /.build-<token>/{job.json, rows/, alive-0, segment/}

A child writes only to the `.build-` directory; `Build.finish` moves the segment from there to its place.
What is left of a build that was cut off is removed by `remove_leftovers`.
"""

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from akidb.ports.search import GraphSettings
from akidb.search.segments.build import Job, JobSource, Report
from akidb.search.segments.header import Expected
from akidb.sql.files import make_directory, sync_directory

_PREFIX: Final = ".build-"
_NICENESS: Final = 10
_BOOT: Final = """
import json, sys
sys.path[:] = json.load(open(sys.argv[1]))["import_path"]
from akidb.search.segments.build import main
sys.exit(main(sys.argv[1]))
"""


class BuildFailed(Exception):
    """A child process could not build a segment."""

    def __init__(self, why: str, damaged: Path | None = None) -> None:
        super().__init__(why)
        self.damaged = damaged
        """The source that cannot be read."""


class BuildSource(NamedTuple):
    """Rows or a segment to build from."""

    directory: Path
    alive: NDArray[np.bool_] | None = None
    """Which rows to keep; None for all."""


class Build:
    """One build: write rows to `rows`, `start` it, wait, and `finish`. `cancel` it in any state."""

    def __init__(self, directory: Path) -> None:
        """Create the directory of a build in that of a collection's segments."""
        make_directory(directory)
        self._place = directory
        self._own = directory / f"{_PREFIX}{secrets.token_hex(8)}"
        self._own.mkdir(mode=0o700)
        self._process: subprocess.Popen[bytes] | None = None
        self._is_killed = False

    @property
    def rows(self) -> Path:
        """Where to write new rows, by `write_rows`."""
        return self._own / "rows"

    @property
    def pid(self) -> int | None:
        """The child process, once it is started."""
        return None if self._process is None else self._process.pid

    def start(
        self,
        expected: Expected,
        settings: GraphSettings,
        sources: Sequence[BuildSource],
        after: int,
        through: int,
        threads: int,
        *,
        extend: bool = False,
    ) -> None:
        """Start the child process. `after` and `through` say which sequences the sources have.

        With `extend` the first source is a segment whose rows all keep their positions: the others are added
        to its graph, which takes only the time of these.

        Raises BuildFailed if there is no Python interpreter to run, and OSError.
        """
        job = Job(
            target=str(self._own / "segment"),
            store_id=str(expected.store_id),
            collection_id=str(expected.collection_id),
            dimension=expected.dimension,
            metric=expected.metric,
            settings=settings,
            after=after,
            through=through,
            sources=[
                JobSource(str(source.directory), self._alive_file(number, source.alive))
                for number, source in enumerate(sources)
            ],
            extend=extend,
            threads=threads,
            niceness=_NICENESS,
            import_path=[str(Path(entry).absolute()) for entry in sys.path if entry],
        )
        path = self._own / "job.json"
        path.write_bytes(msgspec.json.encode(job))
        self._launch(path, threads)

    def _launch(self, path: Path, threads: int) -> None:
        # -I and -c: it imports nothing from the working directory, and not the user's main module.
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter
            [_interpreter(), "-I", "-c", _BOOT, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=_environment(threads),
            start_new_session=True,  # an interrupt from a terminal reaches AkiDB alone
        )
        if self._is_killed:
            self._process.kill()

    def wait(self, timeout_seconds: float | None = None) -> None:
        """Wait for the child process.

        Raises BuildFailed, and TimeoutError if it still runs.
        """
        process = self._process
        assert process is not None
        try:
            process.wait(timeout_seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        assert process.stdout is not None
        assert process.stderr is not None
        out, errors = process.stdout.read(), process.stderr.read()
        if process.returncode:
            raise _failure(process.returncode, out, errors)

    def finish(self) -> Path:
        """Move the finished segment to its place, durably, and return that."""
        final = self._place / self._own.name.removeprefix(_PREFIX)
        (self._own / "segment").rename(final)
        sync_directory(final)
        sync_directory(self._place)
        self.cancel()
        return final

    def kill(self) -> None:
        """End the child process; a thread that waits for it sees that it failed. From any thread."""
        self._is_killed = True
        if self._process is not None:
            self._process.kill()

    def cancel(self) -> None:
        """End the child process and remove what the build wrote, except for a finished segment."""
        process = self._process
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                assert pipe is not None
                with suppress(OSError):
                    pipe.close()
        shutil.rmtree(self._own, ignore_errors=True)

    def _alive_file(self, number: int, alive: NDArray[np.bool_] | None) -> str | None:
        if alive is None:
            return None
        path = self._own / f"alive-{number}"
        path.write_bytes(np.ascontiguousarray(alive, dtype=np.bool_).tobytes())
        return str(path)


def segments_in(directory: Path) -> list[Path]:
    """Return the directories of a collection's segments, damaged ones too."""
    try:
        entries = list(os.scandir(directory))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []
    return [Path(entry.path) for entry in entries if not entry.name.startswith(".")]


def remove_leftovers(directory: Path) -> None:
    """Remove what is left of builds that did not finish. None may run."""
    for path in directory.glob(f"{_PREFIX}*"):
        shutil.rmtree(path, ignore_errors=True)


def _interpreter() -> str:
    """Return the path of this interpreter; a program that embeds Python must not be started again."""
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for path in (Path(sys.executable or "none"), Path(sys.base_exec_prefix) / "bin" / name):
        if path.name.startswith("python") and path.is_file() and not getattr(sys, "frozen", False):
            return str(path)
    raise BuildFailed("this program has no Python interpreter that could run the build")


def _environment(threads: int) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "AKIDB_"))}
    # An OpenMP thread that waits for others spins otherwise, on cores that searches need.
    bounds = {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "OPENBLAS_NUM_THREADS": str(threads),
    }
    return kept | bounds


def _failure(status: int, out: bytes, errors: bytes) -> BuildFailed:
    with suppress(msgspec.MsgspecError):
        report = msgspec.json.decode(out, type=Report)
        return BuildFailed(report.why, None if report.damaged is None else Path(report.damaged))
    if status < 0:
        return BuildFailed(f"the process was killed by signal {-status}")
    last = errors.decode(errors="replace").strip().rpartition("\n")[2]
    return BuildFailed(f"the process ended with status {status}: {last}")
