"""A real server process: durable upserts as JSON, and the overhead of HTTP in a search."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from akidb.bench.fixtures import DIMENSION, PATH, documents, fresh_store, prepare, vectors
from akidb.bench.measure import Line, Work, at_least, in_turns, latency_lines, on_top_of, rate_lines
from akidb.bench.server import serving, transport
from akidb.client.connect import bind
from akidb.client.http.transport import Transport
from akidb.operations.declare import Operations
from akidb.operations.documents import SearchDocuments, UpsertDocuments
from akidb.settings import load

SUITE = "http"
BATCH = 100
COUNT = 10_000
ROUTE = "/v1/tenants/bench/databases/bench/collections/documents"
JSON = {"Content-Type": "application/json"}


def run() -> list[Line]:
    """Return the results of this suite."""
    rows = vectors(COUNT)
    batches = [documents(at, rows[at : at + BATCH]) for at in range(0, COUNT, BATCH)]
    with (
        _server() as url,
        fresh_store() as local,
        closing(bind(url, load())) as remote,
        transport(url) as http,
    ):
        prepare(remote)
        lines = _upsert(http, remote, batches)
        for at in range(0, COUNT, 1000):
            local.perform(UpsertDocuments(**PATH._asdict(), documents=documents(at, rows[at : at + 1000])))
        return lines + _search(http, remote, local)


def _poster(http: Transport, path: str, bodies: list[bytes]) -> Work:
    """Return a function that posts prepared bodies over one keep-alive connection."""

    def post(number: int) -> None:
        answer = http.send("POST", f"{ROUTE}{path}", bodies[number], JSON, safe=True)
        assert answer.status == 200, answer.body

    return post


def _upsert(http: Transport, remote: Operations, batches: list[list[dict[str, Any]]]) -> list[Line]:
    bodies = [
        msgspec.json.encode({"documents": [{**d, "vector": d["vector"].tolist()} for d in batch]})
        for batch in batches
    ]

    taken = in_turns(
        {
            "akidb, JSON ready-made": _poster(http, "/documents", bodies),
            "akidb's client, NumPy": lambda n: remote.perform(
                UpsertDocuments(**PATH._asdict(), documents=batches[n])
            ),
        },
        len(batches) - 5,
    )
    work = f"upsert batches of {BATCH} x {DIMENSION} as JSON, durable"
    return rate_lines(SUITE, work, taken, BATCH, "documents/s", at_least(12_000))


def _search(http: Transport, remote: Operations, local: Operations) -> list[Line]:
    asked = vectors(1000, seed=11)
    bodies = [msgspec.json.encode({"vector": row.tolist()}) for row in asked]

    taken = in_turns(
        {
            "akidb, JSON ready-made": _poster(http, "/search", bodies),
            "akidb's client, NumPy": lambda n: remote.perform(
                SearchDocuments(**PATH._asdict(), vector=asked[n])
            ),
            "in process": lambda n: local.perform(SearchDocuments(**PATH._asdict(), vector=asked[n])),
        },
        500,
    )
    return latency_lines(SUITE, f"search {COUNT:,} x {DIMENSION}", taken, on_top_of("in process", 700))


@contextmanager
def _server() -> Iterator[str]:
    """`akidb serve` on a directory and a port of its own."""
    with (
        TemporaryDirectory(prefix="akidb-bench-") as directory,
        serving(Path(directory) / "data", environment={"AKIDB_LOG_LEVEL": "warning"}) as server,
    ):
        yield server.url
