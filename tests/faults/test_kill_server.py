"""`kill -9` of a server under reads and writes: socket commands, lists, counts, `doctor`."""

import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from fault_tools import add_tenant, at, opened
from history import History
from writing_child import TENANTS, write

from akidb.client.connect import bind
from akidb.domain.entities import limit_of
from akidb.domain.errors import Unavailable
from akidb.operations.documents import CountDocuments, ScanDocuments
from akidb.operations.tenants import GetUsage, ListTenants
from akidb.settings import Settings

COMMANDS = (
    ["doctor"],
    ["tenant", "list"],
    ["document", "count", "a/d/x"],
    ["document", "export", "b/d/y"],
    ["audit", "list", "c"],
)


class Readers(threading.Thread):
    """Commands, one after the other, as an operator or a backup would run them."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._directory = directory
        self.stop = threading.Event()
        self.answers = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        while not self.stop.is_set():
            for command in COMMANDS:
                self._ask(command)

    def _ask(self, command: list[str]) -> None:
        if self.stop.is_set():
            return
        asked = [sys.executable, "-m", "akidb", "--data", str(self._directory), "--json", *command]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode == 0:
            self.answers += 1
        elif not self.stop.is_set() or '"code":"unavailable"' not in done.stderr:
            self.wrong.append(f"{command}: {done.returncode} {done.stdout} {done.stderr}")


class Lists(threading.Thread):
    """Lists, counts and scans over one connection, whose parts must fit together."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self._operations = bind(directory, Settings())
        self.answers = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        with closing(self._operations), suppress(Unavailable):
            while True:
                usage = self._operations.perform(GetUsage(tenant="a"))
                if usage.storage_bytes.used > limit_of(usage.storage_bytes.limit) or usage.collections < 2:
                    self.wrong.append(str(usage))
                self._operations.perform(CountDocuments(**at("a", "x")._asdict(), filter={"n": {"$gte": 0}}))
                self._operations.perform(ScanDocuments(**at("a", "y")._asdict(), limit=50))
                self._operations.perform(ListTenants())
                self.answers += 1


class Writer(threading.Thread):
    """One tenant's steps through the server's socket, until the server is gone."""

    def __init__(self, directory: Path, tenant: str, seed: int, history: History, tell: Any) -> None:
        super().__init__()
        self._operations = bind(directory, Settings())
        self._tenant, self._seed, self._tell = tenant, seed, tell
        self._first = history.in_the_air.get(tenant)

    def run(self) -> None:
        with closing(self._operations), suppress(Unavailable):
            write(self._operations, self._tenant, self._seed, self._first, self._tell)


@contextmanager
def _serving(directory: Path) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "akidb", "--data", str(directory), "--json", "serve", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["socket"]
            yield process
        finally:
            process.kill()


def _kill_after(directory: Path, history: History, seed: int, seconds: float) -> int:
    """Give how often readers were answered."""
    lock = threading.Lock()

    def tell(*message: Any) -> None:
        with lock:
            history.note(*message)

    with _serving(directory) as process:
        writers = [Writer(directory, tenant, seed, history, tell) for tenant in TENANTS]
        lists, readers = Lists(directory), Readers(directory)
        for thread in (*writers, lists, readers):
            thread.start()
        time.sleep(seconds)
        readers.stop.set()  # before the kill: a command that comes after it may open the directory itself
        process.kill()
        for thread in (*writers, lists, readers):
            thread.join()
    assert readers.wrong == []
    assert lists.wrong == []
    assert lists.answers > 0
    return readers.answers + lists.answers


@pytest.mark.parametrize("kills", [pytest.param(20, marks=pytest.mark.slow)])
def test_server_killed_under_load_loses_nothing(kills: int, tmp_path: Path) -> None:
    rng = random.Random(f"server {kills}")
    data = tmp_path / "data"
    with opened(data) as operations:
        for tenant in TENANTS:
            add_tenant(operations, tenant, "x", "y", storage_quota_bytes=10**12)
    history, answers = History(), 0
    for number in range(kills):
        answers += _kill_after(data, history, number, rng.uniform(0.5, 2))
        history.check(data)
    print(f"{kills} kills, {history.acknowledged} writes acknowledged, {answers} reads answered")
    assert history.acknowledged > 10 * kills
