"""The table of searches over HTTP: AkiDB's server and Chroma's, with the same clients."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import msgspec

from akidb.bench.search.load_generator import Answers, drive, post
from akidb.bench.search.peers.chroma import INCLUDE, Chroma
from akidb.bench.search.searching import AKIDB
from akidb.bench.search.stage import Run, say
from akidb.bench.search.tables import Cell, Table
from akidb.bench.search.worker import Asking, Timed
from akidb.bench.server import serving

COST_US = 500
OF_CHROMA = 2.0
START_SECONDS = 60
_ROUTE = "/v1/tenants/bench/databases/bench/collections/documents/search"
_CHROMA = "/api/v2/tenants/default_tenant/databases/default_database/collections"


class _Side(NamedTuple):
    inside: float
    """Median of a search in process, in seconds."""
    one: Answers
    many: Answers


def http(run: Run) -> list[Table]:
    """Searches of the smaller collection: in process, by one client, and by many."""
    small = run.small_loaded()
    sides: dict[str, _Side] = {}
    for engine, server in ((AKIDB, _akidb), (Chroma.name, _chroma)):
        if engine not in small:
            continue
        say(f"{engine}: HTTP ...")
        folder = run.folder(engine, "small")
        inside = _in_process(run, engine, folder)
        if inside is None:
            continue
        try:
            with server(Path(folder), run) as (port, requests):
                drive(port, requests, run.plan.clients, run.plan.seconds)
                one = drive(port, requests, 1, run.plan.seconds * 2)
                many = drive(port, requests, run.plan.clients, run.plan.seconds * 4)
        except (OSError, ValueError) as error:
            run.failed(f"{engine}, HTTP", str(error))
            continue
        sides[engine] = _Side(inside, one, many)
    return [_table(run, sides)]


def _table(run: Run, sides: dict[str, _Side]) -> Table:
    rows: list[list[Cell]] = []
    rates = {engine: len(side.many.seconds) / side.many.elapsed for engine, side in sides.items()}
    for engine, side in sides.items():
        single = median(side.one.seconds) * 1e6
        cost = single - side.inside * 1e6
        goal: tuple[Cell, Cell] = ("", "")
        if engine == AKIDB:
            missed = [] if cost <= COST_US else ["cost"]
            if Chroma.name in rates and rates[engine] < OF_CHROMA * rates[Chroma.name]:
                missed.append("rate")
            goal = (
                f"cost <= {COST_US} us, {OF_CHROMA:g} x chroma",
                "no: " + ", ".join(missed) if missed else "yes",
            )
        rows.append(
            [
                *(engine, side.inside * 1e6, single, cost, rates[engine]),
                *(_p(side.many, 0.5) * 1e3, _p(side.many, 0.95) * 1e3, *goal),
            ]
        )
    many = f"{run.plan.clients} clients, /s"
    columns = ("engine", "in process us", "HTTP us", "cost us", many, "p50 ms", "p95 ms", "goal", "reached")
    title = f"http: searches of {run.plan.small:,} x {run.data.dimension}, JSON ready-made, default servers"
    return Table(name="http", title=title, columns=columns, rows=rows)


def _in_process(run: Run, engine: str, folder: str) -> float | None:
    asking = Asking.made(run.data.everything())
    with run.fresh(engine) as worker:
        arguments = {"folder": folder, "setting": 0, "searches": 100}
        if run.tried(f"{engine}, HTTP", worker, "open", **arguments) is None:
            return None
        asked = {"asking": asking, "setting": 0, "threads": 1, "seconds": run.plan.seconds}
        timed: Timed = worker.call("time", **asked)
        worker.call("close")
    return median(timed.seconds)


@contextmanager
def _akidb(folder: Path, run: Run) -> Iterator[tuple[int, list[bytes]]]:
    requests = [
        post(_ROUTE, msgspec.json.encode({"vector": question.tolist()}))
        for question in run.data.questions[:200]
    ]
    with serving(folder, environment={"AKIDB_LOG_LEVEL": "warning"}) as server:
        yield server.port, requests


@contextmanager
def _chroma(folder: Path, run: Run) -> Iterator[tuple[int, list[bytes]]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start = "from chromadb.cli.cli import app; app()"
    command = [sys.executable, "-c", start, "run", "--path", str(folder), "--port", str(port)]
    environment = run.environment()
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment, cwd=run.scratch
    ) as server:
        try:
            identifier = _wait(f"http://127.0.0.1:{port}{_CHROMA}/documents")
            path = f"{_CHROMA}/{identifier}/query"
            bodies = [
                {"query_embeddings": [question.tolist()], "n_results": 10, "include": INCLUDE}
                for question in run.data.questions[:200]
            ]
            yield port, [post(path, msgspec.json.encode(body)) for body in bodies]
        finally:
            server.kill()


def _wait(url: str) -> str:
    """Return the identifier of the collection, once the server answers."""
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return str(json.load(answer)["id"])
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def _p(answers: Answers, share: float) -> float:
    return sorted(answers.seconds)[int(len(answers.seconds) * share)]
