"""Worker processes on one PostgreSQL database, each with its own connections, that run given functions."""

import multiprocessing
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from fault_tools import at, document

from akidb.deployment.local import LocalOperations, open_local
from akidb.domain.errors import AkiDBError
from akidb.observe import context
from akidb.operations.documents import UpsertDocuments
from akidb.settings import Settings
from children import child

Job = Callable[..., Any]
ANSWER_SECONDS = 60
THREADS = 8
REFUSALS = 5


class Refusal(NamedTuple):
    """An error of the domain, as it crosses between processes."""

    name: str
    message: str
    fields: dict[str, Any]


class Worker:
    """One process."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def begin(self, job: Job, *arguments: Any) -> None:
        """Have it call `job(operations, *arguments)`."""
        self._pipe.send((job, arguments))

    def result(self) -> Any:
        """What the job gave, or a Refusal. Raises EOFError when the process died of it."""
        assert self._pipe.poll(ANSWER_SECONDS), "the worker does not answer"
        return self._pipe.recv()

    def do(self, job: Job, *arguments: Any) -> Any:
        """Begin it and wait for what it gives."""
        self.begin(job, *arguments)
        return self.result()


@contextmanager
def workers(url: str, number: int, **settings: Any) -> Iterator[list[Worker]]:
    """So many processes; each connects with its first job."""
    with ExitStack() as stack:
        made = []
        for _ in range(number):
            here, there = multiprocessing.Pipe()
            stack.enter_context(child(_work, url, settings, there))
            there.close()
            made.append(Worker(here))
            stack.callback(here.close)
        yield made
        for worker in made:
            worker.begin(_stop)


def at_once(those: Sequence[Worker], job: Job, *arguments: Any) -> list[Any]:
    """Have all of them do the same at the same instant; gives what each gave."""
    for worker in those:
        worker.do(ready)
    instant = time.time() + 0.05
    for worker in those:
        worker.begin(at_instant, instant, job, *arguments)
    return [worker.result() for worker in those]


def ready(_operations: LocalOperations) -> None:
    """Nothing; the connection is made for it."""


def at_instant(operations: LocalOperations, instant: float, job: Job, *arguments: Any) -> Any:
    time.sleep(max(0.0, instant - time.time()))
    return job(operations, *arguments)


def keyed(operations: LocalOperations, key: str, job: Job, *arguments: Any) -> Any:
    with context.request(idempotency_key=key):
        return job(operations, *arguments)


def write_each(operations: LocalOperations, slug: str, ids: Sequence[str]) -> Counter[str]:
    """Write each document in a thread of its own; counts the answers."""
    answers: Counter[str] = Counter()

    def write(id: str) -> None:
        try:
            operations.perform(UpsertDocuments(**at(slug)._asdict(), documents=[document(id)]))
            answers["written"] += 1
        except AkiDBError as error:
            answers[type(error).__name__] += 1

    threads = [threading.Thread(target=write, args=(id,)) for id in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def write_until_refused(operations: LocalOperations, slug: str, prefix: str) -> tuple[Counter[str], float]:
    """Eight threads write until each was refused five times.

    Counts the answers, and says when the last write that got through was begun.
    """
    answers: Counter[str] = Counter()
    lock = threading.Lock()
    last = 0.0
    until = time.monotonic() + ANSWER_SECONDS / 2

    def write(number: int) -> None:
        nonlocal last
        turn = refused = 0
        while refused < REFUSALS and time.monotonic() < until:
            began = time.time()
            try:
                operations.perform(
                    UpsertDocuments(**at(slug)._asdict(), documents=[document(f"{prefix}-{number}-{turn}")])
                )
            except AkiDBError as error:
                refused += 1
                with lock:
                    answers[type(error).__name__] += 1
            else:
                with lock:
                    answers["written"] += 1
                    last = max(last, began)
            turn += 1

    threads = [threading.Thread(target=write, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers, last


def _stop(_operations: LocalOperations) -> None:
    raise SystemExit


def _work(url: str, settings: dict[str, Any], pipe: Connection) -> None:
    operations: LocalOperations | None = None
    while True:
        job, arguments = pipe.recv()
        try:
            if operations is None:
                operations = open_local(url, Settings(**settings))
            answer = job(operations, *arguments)
        except AkiDBError as error:
            answer = Refusal(type(error).__name__, error.message, error.fields)
        except SystemExit:
            if operations is not None:
                operations.close()
            return
        pipe.send(answer)
