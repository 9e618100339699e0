"""A program whose main thread gets hundreds of signals while it and other threads use one connection.

It prints what went wrong as JSON: exceptions other than that of the handler, lost writes, what is still held.
"""

import contextlib
import json
import random
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import akidb

if TYPE_CHECKING:
    from collections.abc import Callable

DIMENSION = 16
VECTOR = [1.0] * DIMENSION
WRITERS = 3
MAX_SECONDS = 30.0
"""It ends then, with fewer signals."""


class Stopped(BaseException):
    """What the program's own handler raises."""


def stop(_number: int, _frame: object) -> None:
    raise Stopped


class Program:
    """The work of the threads, and what they noticed."""

    def __init__(self, target: str, expected: type[BaseException]) -> None:
        self.expected = expected
        self.acknowledged: set[str] = set()
        self.names: set[str] = set()
        self.db = akidb.connect(target)
        database = self.db.tenants.create("T", qps_quota=10**9).databases.create("d")
        self.notes = database.collections.create("c", dimension=DIMENSION)
        self.upsert("first")
        self.done = threading.Event()
        self.interrupts = self.turn = 0
        self.wrong: list[str] = []

    def upsert(self, id: str) -> None:
        self.notes.upsert([{"id": id, "vector": VECTOR}])
        self.acknowledged.add(id)

    def create(self, name: str) -> None:
        self.db.tenants.create(name)
        self.names.add(name)

    def write(self, number: int) -> None:
        turn = 0
        while not self.done.is_set():
            turn += 1
            try:
                self.upsert(f"{number}-{turn}")
            except BaseException as error:  # noqa: BLE001
                self.wrong.append(f"writer: {error!r}")

    def interrupt(self, signals: int) -> None:
        rng = random.Random(signals)
        deadline = time.monotonic() + MAX_SECONDS
        ident = threading.main_thread().ident
        assert ident is not None
        for _ in range(signals):
            time.sleep(rng.uniform(0.0002, 0.006))
            signal.pthread_kill(ident, signal.SIGINT)
            if time.monotonic() > deadline:
                break
        self.done.set()

    def run(self, signals: int) -> None:
        work: list[Callable[[str], Any]] = [
            self.upsert,
            self.create,
            lambda _: self.notes.get("first"),
            lambda _: self.notes.search(VECTOR, top_k=3),
            lambda _: self.db.tenants.list(limit=5),
            lambda _: self.notes.count(filter={"a": 1}),
            lambda name: self.notes.delete(ids=[f"no-{name}"]),
        ]
        threads = [threading.Thread(target=self.write, args=(number,)) for number in range(WRITERS)]
        for thread in threads:
            thread.start()
        threads.append(threading.Thread(target=self.interrupt, args=(signals,)))
        # A signal may also arrive in an `except` below, and is then caught by the next one.
        self.repeated(lambda: self.repeated(lambda: self.repeated(lambda: self.work(work, threads[-1]))))
        with contextlib.suppress(self.expected):
            time.sleep(0.05)
        for thread in threads:
            thread.join(20)
            if thread.is_alive():
                self.wrong.append(f"{thread.name} is stuck")

    def repeated(self, call: "Callable[[], None]") -> None:
        """Call until it returns."""
        while True:
            try:
                call()
            except self.expected:
                self.interrupts += 1
            else:
                return

    def work(self, work: "list[Callable[[str], Any]]", interrupting: threading.Thread) -> None:
        """Work until there are no more signals."""
        if not interrupting.ident:
            interrupting.start()
        while not self.done.is_set():
            self.turn += 1
            try:
                work[self.turn % len(work)](f"m-{self.turn}")
            except Exception as error:  # noqa: BLE001
                self.wrong.append(f"main: {type(error).__name__}: {error}")

    def look(self) -> None:
        """Look for what was left behind."""
        runtime = self.db._operations._runtime  # type: ignore[attr-defined]
        if runtime.admission._running:
            self.wrong.append(f"{runtime.admission._running} operations are still admitted")
        for kind, figures in runtime.figures().items():
            if figures.connections_in_use or figures.gate_waiting or figures.pool_waiting:
                self.wrong.append(f"{kind}: {figures}")
        for entry in getattr(runtime.tenant_stores, "_entries", {}).values():
            if entry.users:
                self.wrong.append(f"{entry.users} users of a store")
        stored = {document.id for document in self.notes.scan_all()}
        self.wrong += [f"lost: {id}" for id in sorted(self.acknowledged - stored)[:5]]
        known = {tenant.entity.name for tenant in self.db.tenants}
        self.wrong += [f"lost: {name}" for name in sorted(self.names - known)[:5]]
        self.upsert("last")
        self.db.close()


def main(target: str, signals: int, *, own_handler: bool) -> None:
    if own_handler:
        signal.signal(signal.SIGINT, stop)
    else:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    program = Program(target, Stopped if own_handler else KeyboardInterrupt)
    program.run(signals)
    program.look()
    print(json.dumps({"interrupts": program.interrupts, "wrong": program.wrong[:20]}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), own_handler=sys.argv[3] == "own")
