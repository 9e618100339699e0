"""One run: the data, the engines at work, and the choice of each engine's setting for a recall."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import msgspec
import numpy as np

from akidb.bench.measure import Series
from akidb.bench.search.crew import Failed, Hire, Worker, environment, file_name
from akidb.bench.search.data import DataSet, Question
from akidb.bench.search.peers import ENGINES
from akidb.bench.search.recall import Truth, recall, truth
from akidb.bench.search.worker import Answered, Asking, Loaded, Opened, Timed

ENOUGH = 0.995
"""The curve of recall and speed ends at this recall."""
WARM_SEARCHES = 200
"""Searches before the memory is measured."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The sizes of a run."""

    rounds: int = 3
    """Engines take turns this many times."""
    seconds: float = 0.5
    """Of searching in a round."""
    pass_seconds: float = 2.0
    """At most, to measure the recall of a setting; a slow engine is asked fewer questions."""
    small: int = 10_000
    """Documents of the smaller collection."""
    collections: int = 10_000
    tenants: int = 1000
    """Tenants with a store and one collection each."""
    collections_seconds: float = 20.0
    """At most, to create the collections, and again to search them."""
    clients: int = 32


QUICK = Plan(
    rounds=1,
    seconds=0.05,
    pass_seconds=0.5,
    small=300,
    collections=1000,
    tenants=100,
    collections_seconds=1,
    clients=4,
)


class Point(NamedTuple):
    """What a setting gave: its place, recall@10 and searches per second with one thread."""

    setting: int
    recall: float
    rate: float


class Measured(NamedTuple):
    """Searches timed in rounds."""

    rate: float
    """Searches per second: the number of threads by the median time of a search."""
    cpu: float
    """CPU seconds of a search, of all threads of the process: steadier than its time on a busy machine."""
    series: Series


class Run:
    """The engines on one data set. Worker processes start when they are needed and stay until `close`."""

    def __init__(self, data: DataSet, scratch: Path, engines: list[str], plan: Plan, hire: Hire) -> None:
        self.data, self.scratch, self.engines, self.plan = data, scratch, engines, plan
        self.curves: dict[str, list[Point]] = {}
        """Of each engine, unfiltered."""
        self.loaded: dict[str, Loaded] = {}
        self.opened: dict[str, Opened] = {}
        self._hire = hire
        self._workers: dict[str, Worker] = {}
        self._small: dict[str, Loaded] = {}
        self._failed: dict[str, str] = {}
        self._truths: dict[str, Truth] = {}
        self._points: dict[tuple[str, str], list[Point]] = {}

    @property
    def failures(self) -> list[str]:
        """What did not work, as text."""
        return [f"{what}: {why}" for what, why in self._failed.items()]

    def all_loaded(self) -> dict[str, Worker]:
        """Return the workers whose collection has all documents; they are loaded one after another.

        Each is loaded in one process and opened in another, as it is when a program starts.
        """
        for engine in self.engines:
            if engine in self._workers or engine in self._failed:
                continue
            say(f"{engine}: loading {self.data.count:,} documents ...")
            folder = self.folder(engine, "all")
            arguments = {"folder": folder, "count": self.data.count, "batch": ENGINES[engine].bulk}
            loaded = self._load(engine, arguments)
            if loaded is None:
                continue
            worker = self._hire(engine, self.data.folder, self.scratch)
            middle = len(ENGINES[engine].settings) // 2
            opened = self.tried(engine, worker, "open", folder=folder, setting=middle, searches=WARM_SEARCHES)
            if opened is None:
                worker.stop()
                continue
            self.loaded[engine], self.opened[engine], self._workers[engine] = loaded, opened, worker
        return dict(self._workers)

    def small_loaded(self) -> dict[str, Loaded]:
        """Write a smaller collection in batches of 100 with each engine."""
        for engine in self.engines:
            if engine not in self._small:
                say(f"{engine}: loading {self.plan.small:,} documents in batches of 100 ...")
                arguments = {"folder": self.folder(engine, "small"), "count": self.plan.small, "batch": 100}
                loaded = self._load(engine, arguments, f"{engine}, batches")
                if loaded is not None:
                    self._small[engine] = loaded
        return self._small

    def _load(self, engine: str, arguments: dict[str, Any], what: str | None = None) -> Loaded | None:
        with self.fresh(engine) as worker:
            loaded: Loaded | None = self.tried(what or engine, worker, "load", **arguments)
            if loaded is not None:
                self.tried(what or engine, worker, "close")
        return loaded

    @contextmanager
    def fresh(self, engine: str) -> Iterator[Worker]:
        """Start another process of an engine."""
        worker = self._hire(engine, self.data.folder, self.scratch)
        try:
            yield worker
        finally:
            worker.stop()

    def folder(self, engine: str, name: str) -> str:
        """Return the folder of one of an engine's stores, made if it is missing."""
        path = self.scratch / "stores" / file_name(engine) / name
        path.mkdir(parents=True, exist_ok=True)
        return str(path)

    def tried(self, what: str, worker: Worker, call: str, **arguments: Any) -> Any:
        """Return the result, or None if the engine cannot do this; the reason is kept for the report."""
        try:
            return worker.call(call, **arguments)
        except Failed as error:
            self.failed(what, str(error))
            return None

    def environment(self) -> dict[str, str]:
        """Return the environment of another process: without telemetry, its home below `scratch`."""
        return environment(self.scratch)

    def failed(self, what: str, why: str) -> None:
        """Keep what did not work for the report."""
        self._failed[what] = why

    def truth(self, question: Question, *, deleted: tuple[str, ...] = ()) -> Truth:
        """Return the right answers, computed once."""
        if question.name not in self._truths:
            mask = np.isin(self.data.columns()["category"], deleted) if deleted else None
            self._truths[question.name] = truth(self.data, question, mask)
        return self._truths[question.name]

    def choose(self, worker: Worker, question: Question, target: float, *, first: int = 0) -> Point | None:
        """Return the fastest setting that reaches the recall, or the one that comes closest.

        None if the engine cannot answer such questions.
        """
        points = self._points.setdefault((worker.engine, question.name), [])
        settings = range(first + len(points), len(ENGINES[worker.engine].settings))
        for setting in settings:
            if points and points[-1].recall >= target:
                break
            point = self._point(worker, question, setting)
            if point is None:
                return None
            points.append(point)
        good = [point for point in points if point.recall >= target]
        return good[0] if good else max(points, key=lambda point: point.recall)

    def curve(self, worker: Worker) -> list[Point]:
        """Return recall and speed of the settings up to a recall of `ENOUGH`."""
        everything = self.data.everything()
        self.choose(worker, everything, ENOUGH)
        self.curves[worker.engine] = self._points[worker.engine, everything.name]
        return self.curves[worker.engine]

    def _point(self, worker: Worker, question: Question, setting: int) -> Point | None:
        asking = Asking.made(question)
        arguments = {"asking": asking, "setting": setting, "seconds": self.plan.pass_seconds}
        answered: Answered | None = self.tried(
            f"{worker.engine}, {question.name}", worker, "answers", **arguments
        )
        if answered is None:
            return None
        count = len(answered.numbers)
        asked = question._replace(numbers=question.numbers[:count])
        right = self.truth(question)
        share = recall(self.data, asked, right, answered.numbers)
        return Point(setting, share, 1 / median(answered.seconds))

    def in_rounds(
        self, chosen: dict[str, Point], workers: dict[str, Worker], question: Question, threads: int
    ) -> dict[str, Measured]:
        """Time the chosen settings; the engines take turns."""
        taken: dict[str, list[Timed]] = {engine: [] for engine in chosen}
        for _ in range(self.plan.rounds):
            for engine, point in chosen.items():
                arguments = {
                    "asking": Asking.made(question),
                    "setting": point.setting,
                    "threads": threads,
                    "seconds": self.plan.seconds,
                }
                timed = self.tried(f"{engine}, {question.name}", workers[engine], "time", **arguments)
                if timed is not None:
                    taken[engine].append(timed)
        return {engine: measured(rounds, threads) for engine, rounds in taken.items() if rounds}

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers.values():
            worker.stop()


def measured(rounds: list[Timed], threads: int) -> Measured:
    """Return the rate, the median CPU time, and the times of all searches."""
    series = Series([second for timed in rounds for second in timed.seconds])
    cpu = median([timed.cpu / len(timed.seconds) for timed in rounds])
    return Measured(threads / series.p50, cpu, series)


def setting_name(engine: str, setting: int) -> str:
    """Return the name of an engine's setting."""
    return ENGINES[engine].settings[setting].name


def say(message: str) -> None:
    """Show progress."""
    print(message, file=sys.stderr, flush=True)
