"""One engine in a process of its own, so that engines share neither memory nor threads.

`python -m akidb.bench.search.worker ENGINE DATA` reads one JSON request a line and answers each with one
line. What an engine itself prints goes to the log.
"""

import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np

from akidb.bench.search import machine
from akidb.bench.search.data import Condition, DataSet, Documents, Question
from akidb.bench.search.peers import ENGINES, MANY, MANY_TENANTS
from akidb.bench.search.peers.base import Engine, Many, Search

BATCH = 100
SMALL = 10
"""Documents of one of many collections."""
AGAIN = 30
"""Searches of one of them, while it is alone and among all."""


class Asked(msgspec.Struct, frozen=True):
    """A request: the name of a method of `Stage` and its arguments."""

    call: str
    arguments: dict[str, Any]


class Asking(msgspec.Struct, frozen=True):
    """Questions to be asked: their numbers, the conditions, and the place of each question's condition."""

    numbers: list[int]
    conditions: list[Condition]
    of: list[int]

    @classmethod
    def made(cls, question: Question) -> "Asking":
        """Return the questions in a form that can be sent."""
        return cls(question.numbers.tolist(), list(question.conditions), question.of.tolist())


class Answered(msgspec.Struct, frozen=True):
    """The document numbers found for the first questions, and the seconds of each search."""

    numbers: list[list[int]]
    seconds: list[float]


class Timed(msgspec.Struct, frozen=True):
    """The seconds of each search, those of all together, and the CPU seconds of the process meanwhile."""

    seconds: list[float]
    elapsed: float
    cpu: float


class Loaded(msgspec.Struct, frozen=True):
    """The seconds of each batch and until the index was ready, and the bytes on disk."""

    batches: list[float]
    ready: float
    disk_bytes: int


class Opened(msgspec.Struct, frozen=True):
    """Seconds to open a store and of the first search; memory and open files after more searches."""

    open: float
    first: float
    before_bytes: int
    resident_bytes: int
    files: int


class ManyOpened(msgspec.Struct, frozen=True):
    """A store of many collections, opened and searched: seconds, bytes, and numbers of files and threads."""

    open: float
    first: float
    """The first search of one of them, after opening."""
    alone: float
    """The median of further searches of it, while no other is loaded."""
    among: float
    """The same with all loaded."""
    before_bytes: int
    resident_bytes: int
    before_files: int
    files: int
    threads: int


class Stage:
    """One engine at work; the methods are what can be asked of it."""

    def __init__(self, engine: str, data: str) -> None:
        self._name, self._data = engine, DataSet(Path(data))
        self._engine: Engine = ENGINES[engine]()
        self._working = False

    def load(self, folder: str, count: int, batch: int) -> Loaded:
        """Create the collection and write the first `count` documents in batches, then wait for the index."""
        self._engine.create(Path(folder), self._data.dimension)
        self._working = True
        seconds = []
        for at in range(0, count, batch):
            documents = self._data.documents(at, min(batch, count - at))
            started = time.perf_counter()
            self._engine.add(documents)
            seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
        self._engine.ready()
        ready = time.perf_counter() - started
        return Loaded(seconds, ready, machine.disk_bytes(Path(folder)))

    def open(self, folder: str, setting: int, searches: int) -> Opened:
        """Open what another process wrote, and search; the engine itself has been at work before."""
        self._warm(folder)
        gc.collect()
        before = machine.resident_bytes()
        started = time.perf_counter()
        self._engine.open(Path(folder), self._data.dimension)
        self._working = True
        opened = time.perf_counter()
        search = self._engine.search(self._engine.settings[setting])
        search(self._data.questions[0])
        first = time.perf_counter() - opened
        for number in range(searches):
            search(self._data.questions[number % len(self._data.questions)])
        files = machine.open_files(Path(folder))
        return Opened(opened - started, first, before, machine.resident_bytes(), files)

    def answers(self, asking: Asking, setting: int, seconds: float) -> Answered:
        """Ask each question once, as many as fit in this time."""
        numbers, taken = [], []
        end = time.perf_counter() + seconds
        for search, number in self._searches(asking, setting):
            started = time.perf_counter()
            answer = search(self._data.questions[number])
            now = time.perf_counter()
            taken.append(now - started)
            numbers.append(self._engine.numbers(answer))
            if now > end:
                break
        return Answered(numbers, taken)

    def time(self, asking: Asking, setting: int, threads: int, seconds: float) -> Timed:
        """Ask the questions again and again from several threads for this time."""
        works = list(self._searches(asking, setting))
        start = threading.Barrier(threads)
        taken: list[list[float]] = [[] for _ in range(threads)]

        def go(place: int) -> None:
            mine = works[place::threads] or works
            start.wait()
            _ask(mine, self._data, seconds, taken[place])

        others = [threading.Thread(target=go, args=(place,)) for place in range(1, threads)]
        for thread in others:
            thread.start()
        gc.collect()
        gc.disable()
        try:
            started, before = time.perf_counter(), time.process_time()
            go(0)
            for thread in others:
                thread.join()
            elapsed, cpu = time.perf_counter() - started, time.process_time() - before
        finally:
            gc.enable()
        return Timed([second for each in taken for second in each], elapsed, cpu)

    def while_loading(self, asking: Asking, setting: int, seconds: float) -> Timed:
        """Search while another thread writes batches of 100, all of them new documents."""
        works = list(self._searches(asking, setting))
        end = threading.Event()

        def write() -> None:
            at = 0
            while not end.is_set():
                more = self._data.documents(at % (self._data.count - BATCH + 1), BATCH)
                self._engine.add(Documents(self._data.count + at, *more[1:]))
                at += BATCH

        writer = threading.Thread(target=write)
        writer.start()
        taken: list[float] = []
        started, before = time.perf_counter(), time.process_time()
        try:
            _ask(works, self._data, seconds, taken)
        finally:
            elapsed, cpu = time.perf_counter() - started, time.process_time() - before
            end.set()
            writer.join()
        return Timed(taken, elapsed, cpu)

    def delete(self, conditions: list[Condition]) -> float:
        """Delete documents; return the seconds."""
        started = time.perf_counter()
        for condition in conditions:
            self._engine.delete(condition)
        return time.perf_counter() - started

    def create_many(self, folder: str, count: int, seconds: float, tenants: bool) -> Timed:
        """Create collections of ten documents, as many as fit in this time; with `tenants`, of one each."""
        self._warm(folder)
        many: Many = (MANY_TENANTS if tenants else MANY)[self._name]()
        many.open(Path(folder), self._data.dimension)
        taken: list[float] = []
        begun, busy = time.perf_counter(), time.process_time()
        end = begun + seconds
        while len(taken) < count and time.perf_counter() < end:
            documents = self._data.documents(len(taken) * SMALL % (self._data.count - SMALL), SMALL)
            started = time.perf_counter()
            many.create(len(taken), documents)
            taken.append(time.perf_counter() - started)
        elapsed, cpu = time.perf_counter() - begun, time.process_time() - busy
        many.close()
        return Timed(taken, elapsed, cpu)

    def open_many(self, folder: str, count: int, seconds: float, tenants: bool) -> tuple[ManyOpened, Timed]:
        """Open that store, search one collection, then all of them, as many as fit in this time."""
        self._warm(folder)
        gc.collect()
        many: Many = (MANY_TENANTS if tenants else MANY)[self._name]()
        before = machine.resident_bytes()
        started = time.perf_counter()
        many.open(Path(folder), self._data.dimension)
        opened = time.perf_counter()
        many.search(count // 2, self._data.questions[0])
        first = time.perf_counter() - opened
        alone = self._again(many, count // 2)
        before_files = machine.open_files(Path(folder))
        taken: list[float] = []
        begun, busy = time.perf_counter(), time.process_time()
        for number in range(count):
            asked = time.perf_counter()
            many.search(number, self._data.questions[number % len(self._data.questions)])
            taken.append(time.perf_counter() - asked)
            if time.perf_counter() - begun > seconds:
                break
        elapsed, cpu = time.perf_counter() - begun, time.process_time() - busy
        found = ManyOpened(
            opened - started,
            first,
            alone,
            self._again(many, count // 2),
            *(before, machine.resident_bytes(), before_files, machine.open_files(Path(folder))),
            threading.active_count(),
        )
        many.close()
        return found, Timed(taken, elapsed, cpu)

    def _again(self, many: Many, number: int) -> float:
        """Return the median time of searches of one collection."""
        taken = []
        for question in self._data.questions[:AGAIN]:
            asked = time.perf_counter()
            many.search(number, question)
            taken.append(time.perf_counter() - asked)
        return median(taken)

    def close(self) -> None:
        """Release the files."""
        if self._working:
            self._engine.close()
            self._working = False

    def _warm(self, folder: str) -> None:
        """Make a small store and search it, so that no import is part of what is measured next."""
        engine: Engine = ENGINES[self._name]()
        with TemporaryDirectory(dir=Path(folder).parent, ignore_cleanup_errors=True) as name:
            place = Path(name) / "store"
            place.mkdir()
            engine.create(place, self._data.dimension)
            engine.add(self._data.documents(0, SMALL))
            engine.ready()
            engine.search(engine.settings[0])(self._data.questions[0])
            engine.close()

    def _searches(self, asking: Asking, setting: int) -> Iterator[tuple[Search, int]]:
        chosen = self._engine.settings[setting]
        conditions: Sequence[Condition | None] = asking.conditions or [None]
        searches = [self._engine.search(chosen, condition) for condition in conditions]
        for place, number in enumerate(asking.numbers):
            yield searches[asking.of[place] if asking.conditions else 0], number


def _ask(works: list[tuple[Search, int]], data: DataSet, seconds: float, taken: list[float]) -> None:
    questions, clock = data.questions, time.perf_counter
    end = clock() + seconds
    while True:
        for search, number in works:
            question = questions[number]
            started = clock()
            search(question)
            now = clock()
            taken.append(now - started)
            if now > end:
                return


ANSWERS: dict[str, Any] = {
    "load": Loaded,
    "open": Opened,
    "answers": Answered,
    "time": Timed,
    "while_loading": Timed,
    "delete": float,
    "create_many": Timed,
    "open_many": tuple[ManyOpened, Timed],
    "close": None,
}
"""The type of each method's result."""


def perform(stage: Stage, asked: Asked) -> Any:
    """Call a method of the stage; its arguments are converted from JSON."""
    arguments = dict(asked.arguments)
    if "asking" in arguments:
        arguments["asking"] = msgspec.convert(arguments["asking"], Asking)
    if "conditions" in arguments:
        arguments["conditions"] = msgspec.convert(arguments["conditions"], list[Condition])
    method: Callable[..., Any] = getattr(stage, asked.call)
    return method(**arguments)


def main(engine: str, data: str) -> None:
    """Answer the requests on the standard input until it ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    stage = Stage(engine, data)
    for line in sys.stdin.buffer:
        asked = msgspec.json.decode(line, type=Asked)
        try:
            answer = {"result": perform(stage, asked)}
        except NotImplementedError as error:
            answer = {"unsupported": str(error)}
        except Exception as error:  # noqa: BLE001 - an engine's failure is reported, and the bench goes on
            answer = {"failed": f"{type(error).__name__}: {error}"}
        answers.write(msgspec.json.encode(answer) + b"\n")
        answers.flush()


if __name__ == "__main__":
    np.seterr(all="ignore")
    main(*sys.argv[1:])
