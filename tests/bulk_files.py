"""Files with documents, for tests of loads."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import akidb

DIMENSION = 16
VECTORS = np.random.default_rng(7).standard_normal((50, DIMENSION)).astype(np.float32)
SUFFIXES = ("jsonl", "parquet", "arrow", "arrows")
TABLES = ("parquet", "arrow", "arrows")


def write(path: Path, table: pa.Table, rows: int | None = None, **options: Any) -> Path:
    """Write a table by the suffix of the path, in groups or batches of some rows."""
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=rows, **options)
        return path
    made = pa.ipc.new_file if path.suffix == ".arrow" else pa.ipc.new_stream
    with made(path, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table, max_chunksize=rows)
    return path


def write_lines(path: Path, documents: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(document) + "\n" for document in documents))
    return path


def contents(collection: akidb.CollectionHandle) -> list[tuple[Any, ...]]:
    found = collection.scan_all(include=["text", "metadata", "vector"])
    return [
        (each.id, each.text, each.metadata, None if each.vector is None else each.vector.tolist())
        for each in found
    ]


def documents(count: int = 50) -> list[dict[str, Any]]:
    return [
        {
            "id": f"d{n:02}",
            "text": f"text {n} é",
            "vector": VECTORS[n].tolist(),
            "metadata": {"n": n, "t": [None]},
        }
        for n in range(count)
    ]


class StopError(Exception):
    """What ends a load."""
