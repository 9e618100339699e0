"""The worker processes of the engines, and calls to them."""

import os
import re
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from akidb.bench.search.worker import ANSWERS, Asked, Stage, perform

CALL_SECONDS = 1800
STOP_SECONDS = 20
_ENVIRONMENT = {
    "ANONYMIZED_TELEMETRY": "False",  # Chroma
    "LANCE_LOG": "error",
    "RUST_LOG": "error",
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
}


def file_name(engine: str) -> str:
    """Return the name of an engine without spaces and punctuation."""
    return re.sub(r"\W+", "-", engine)


def environment(scratch: Path) -> dict[str, str]:
    """Return an environment without telemetry, and with a home directory below `scratch`.

    Files that a library writes unasked, to the home directory or the current one, are removed with it.
    """
    home = scratch / "home"
    home.mkdir(exist_ok=True)
    return {**os.environ, **_ENVIRONMENT, "HOME": str(home), "TMPDIR": str(scratch)}


class Failed(Exception):
    """An engine could not do what was asked; the others are measured all the same."""


class Worker(Protocol):
    """One engine."""

    engine: str

    def call(self, name: str, **arguments: Any) -> Any:
        """Call a method of `worker.Stage`.

        Raises Failed if the engine fails, does not do this, or takes longer than half an hour.
        """

    def stop(self) -> None:
        """End the process."""


class Process:
    """An engine in a process of its own."""

    def __init__(self, engine: str, data: Path, scratch: Path) -> None:
        self.engine = engine
        self._log = scratch / f"{file_name(engine)}.log"
        command = [sys.executable, "-m", "akidb.bench.search.worker", engine, str(data)]
        around = environment(scratch)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=around,
                cwd=around["HOME"],
            )

    def call(self, name: str, **arguments: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(msgspec.json.encode(Asked(name, arguments)) + b"\n")
            self._process.stdin.flush()
        except OSError:
            raise Failed(self._last_words()) from None
        if not select.select([self._process.stdout], [], [], CALL_SECONDS)[0]:
            self._process.kill()
            raise Failed(f"took longer than {CALL_SECONDS} s")
        line = self._process.stdout.readline()
        if not line:
            raise Failed(self._last_words())
        answer = msgspec.json.decode(line)
        if "result" not in answer:
            raise Failed(answer.get("unsupported") or answer["failed"])
        return msgspec.convert(answer["result"], ANSWERS[name])

    def stop(self) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            self._process.wait(STOP_SECONDS)
        except (OSError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").strip().splitlines() or ["no message"]
        return f"the process ended: {lines[-1]}"


class InProcess:
    """An engine in this process, for tests."""

    def __init__(self, engine: str, data: Path, _: Path) -> None:
        self.engine = engine
        self._stage = Stage(engine, str(data))

    def call(self, name: str, **arguments: Any) -> Any:
        try:
            plain = msgspec.json.decode(msgspec.json.encode(Asked(name, arguments)), type=Asked)
            return perform(self._stage, plain)
        except NotImplementedError as error:
            raise Failed(str(error)) from None

    def stop(self) -> None:
        self._stage.close()


Hire = Callable[[str, Path, Path], Worker]
"""Takes an engine, the folder of the data and a folder for logs."""
