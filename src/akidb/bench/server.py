"""`akidb serve` in a process of its own, for the suites that measure over HTTP."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from akidb.client.http.transport import Transport
from akidb.domain.errors import Unavailable

TIMEOUT_SECONDS = 60.0
STOP_SECONDS = 30


class Serving(NamedTuple):
    """A server process."""

    url: str
    port: int
    pid: int


def transport(url: str) -> "closing[Transport]":
    """Connect to a server."""
    return closing(Transport(url, timeout_seconds=TIMEOUT_SECONDS))


@contextmanager
def serving(
    data: Path, *, descriptors: int | None = None, environment: Mapping[str, str] = {}
) -> Iterator[Serving]:
    """Serve the directory `data` on a free port, with at most `descriptors` open files if given."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "akidb", "--data", str(data), "serve", "--port", str(port)]
    if descriptors is not None:
        command = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh", *command]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, **environment})
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(url)
        yield Serving(url, port, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(url: str) -> None:
    with transport(url) as http:
        for _ in range(300):
            try:
                http.send("GET", "/health/live", None, {}, safe=True)
            except Unavailable:
                time.sleep(0.05)
            else:
                return
    raise TimeoutError("the server did not start")
