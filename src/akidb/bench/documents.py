"""Documents: durable upserts, exact search, opening a store; compared with the raw driver and Chroma."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from akidb.bench.chroma import started
from akidb.bench.fixtures import DIMENSION, PATH, copied_schema, documents, fresh_store, vectors
from akidb.bench.measure import Line, Work, at_most, in_turns, latency_lines, rate_lines, share_of
from akidb.documents.sqlite import SqliteTenantStore
from akidb.domain.ids import StoreId, TenantId
from akidb.operations.documents import SearchDocuments, UpsertDocuments

SUITE = "documents"
BATCH = 100
SEARCHED = 10_000
ROUNDS = SEARCHED // BATCH


def run() -> list[Line]:
    """Return the results of this suite."""
    rows = vectors(SEARCHED)
    with fresh_store() as operations, started() as peer, TemporaryDirectory() as scratch:
        shape = Path(scratch) / "shape.db"
        SqliteTenantStore.create(shape, TenantId(bytes(16)), StoreId(bytes(16)), synchronous="full")
        collection = None if peer is None else peer[0].create_collection("documents")
        with copied_schema(shape) as raw:
            lines = _upsert(operations, raw, collection, rows)
        return [*lines, *_search(operations, collection, rows), *_open(shape)]


def _upsert(operations: Any, raw: Any, peer: Any, rows: NDArray[np.float32]) -> list[Line]:
    batches = [documents(at, rows[at : at + BATCH]) for at in range(0, SEARCHED, BATCH)]
    raw.execute(
        "INSERT INTO collections (collection_key, collection_id, database_id, version, state,"
        " database_state, dimension, metric, max_document_count)"
        f" VALUES (1, randomblob(16), randomblob(16), 1, 'ready', 'ready', {DIMENSION}, 'cosine', 0)"
    )
    # The raw driver gets rows that are ready to bind.
    raw_batches = [_raw_rows(at * BATCH, batch) for at, batch in enumerate(batches)]
    sides: dict[str, Work] = {
        "akidb": lambda n: operations.perform(UpsertDocuments(**PATH._asdict(), documents=batches[n])),
        "raw sqlite3": lambda n: _raw_insert(raw, raw_batches[n]),
    }
    chroma = None if peer is None else ("chroma", lambda n: _chroma_upsert(peer, batches[n]))
    taken = in_turns(sides, ROUNDS - 5, peer=chroma)
    work = f"upsert batches of {BATCH} x {DIMENSION}, durable"
    return rate_lines(SUITE, work, taken, BATCH, "documents/s", share_of("raw sqlite3", 0.5))


def _chroma_upsert(peer: Any, batch: list[dict[str, Any]]) -> None:
    peer.upsert(
        ids=[d["id"] for d in batch],
        embeddings=[d["vector"] for d in batch],
        documents=[d["text"] for d in batch],
        metadatas=[d["metadata"] for d in batch],
    )


def _search(operations: Any, peer: Any, rows: NDArray[np.float32]) -> list[Line]:
    asked = vectors(1000, seed=11)
    sides: dict[str, Work] = {
        "akidb": lambda n: operations.perform(SearchDocuments(**PATH._asdict(), vector=asked[n]))
    }
    chroma: tuple[str, Work] | None = None
    if peer is not None:
        chroma = ("chroma (HNSW)", lambda n: peer.query(query_embeddings=[asked[n]], n_results=10))
    taken = in_turns(sides, 500, peer=chroma)
    work = f"search {len(rows):,} x {DIMENSION}, top 10 with text and metadata"
    lines = latency_lines(SUITE, work, taken, at_most(900))
    filtered = {"year": {"$gte": 2010}}
    some = in_turns(
        {
            "akidb": lambda n: operations.perform(
                SearchDocuments(**PATH._asdict(), vector=asked[n], filter=filtered)
            )
        },
        300,
    )
    return lines + latency_lines(SUITE, "the same with a filter that keeps 43 %", some)


def _open(path: Path) -> list[Line]:
    tenant_id, store_id = TenantId(bytes(16)), StoreId(bytes(16))

    def reopen(_: int) -> None:
        store = SqliteTenantStore(path, tenant_id, store_id)
        store.control_state()
        store.close()

    taken = in_turns({"akidb": reopen}, 300)
    return latency_lines(SUITE, "open a tenant store, read it, close it", taken, at_most(1000))


def _raw_rows(first: int, batch: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    return [
        (
            d["id"],
            first + place + 1,
            len(d["text"]),
            d["text"],
            msgspec.json.encode(d["metadata"]).decode(),
            d["vector"].tobytes(),
        )
        for place, d in enumerate(batch)
    ]


def _raw_insert(raw: Any, rows: list[tuple[Any, ...]]) -> None:
    raw.execute("BEGIN IMMEDIATE")
    raw.executemany(
        "INSERT INTO documents (collection_key, id, sequence, size_bytes, text, metadata, vector)"
        " VALUES (1, ?, ?, ?, ?, ?, ?)",
        rows,
    )
    raw.execute("COMMIT")
