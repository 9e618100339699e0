"""Files loaded into a collection, and exported from one."""

import asyncio
import io
import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import akidb
from akidb.client.bulk import arrow_files, parts
from akidb.domain.errors import AlreadyExists, InvalidArgument
from api.running import threaded
from bulk_files import (
    DIMENSION,
    SUFFIXES,
    TABLES,
    VECTORS,
    contents,
    documents,
    write,
    write_lines,
)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[akidb.Client]:
    with akidb.connect(tmp_path / "data", default_model="hash") as local:
        yield local


@pytest.fixture
def kb(db: akidb.Client) -> akidb.DatabaseHandle:
    return db.tenants.create("Aki", qps_quota=None).databases.create("kb")


@pytest.fixture
def points(kb: akidb.DatabaseHandle) -> akidb.CollectionHandle:
    return kb.collections.create("points", dimension=DIMENSION)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_exported_files_are_loaded_as_they_were(
    kb: akidb.DatabaseHandle, points: akidb.CollectionHandle, tmp_path: Path, suffix: str
) -> None:
    points.upsert(documents())
    points.upsert([{"id": "x", "metadata": {"only": "metadata"}}, {"id": "y", "text": ""}])
    told: list[int] = []
    file = tmp_path / f"points.{suffix}"
    assert points.export(file, progress=told.append) == 52
    assert told == [52]
    copy = kb.collections.create("copy", dimension=DIMENSION)
    steps: list[akidb.LoadResult] = []
    done = copy.load(file, batch_size=20, progress=steps.append)
    assert (done.documents, done.upserted, done.batches, done.without_vector) == (52, 52, 3, 2)
    assert [step.documents for step in steps] == [20, 40, 52]
    assert done.total == (None if suffix == "jsonl" else 52)
    assert contents(copy) == contents(points)
    assert copy.load(file, mode="skip").upserted == 0
    with pytest.raises(AlreadyExists, match=r"points\."):
        points.export(file)
    points.export(file, overwrite=True, filter={"n": {"$lt": 3}}, include=["metadata.n"])
    bare = kb.collections.create("bare")
    assert bare.load(file).documents == 3
    assert [each.metadata for each in bare.scan_all()] == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_over_http_and_with_file_objects(tmp_path: Path) -> None:
    with threaded(tmp_path / "data") as server, akidb.connect(server.url) as client:
        notes = (
            client.tenants.create("Aki").databases.create("kb").collections.create("n", dimension=DIMENSION)
        )
        notes.upsert(documents())
        before = contents(notes)
        for suffix in SUFFIXES:
            sink = io.BytesIO()
            assert notes.export(sink, format=suffix) == 50  # type: ignore[arg-type]
            notes.clear()
            assert notes.load(io.BytesIO(sink.getvalue()), format=suffix).upserted == 50  # type: ignore[arg-type]
            assert contents(notes) == before
        with pytest.raises(InvalidArgument, match=r"^format: is needed for a file without a known suffix"):
            notes.load(io.BytesIO(sink.getvalue()))


def test_asynchronous_twin(tmp_path: Path) -> None:
    async def run() -> None:
        async with akidb.aio.connect(tmp_path / "data") as db:
            database = await (await db.tenants.create("Aki")).databases.create("kb")
            notes = await database.collections.create("n", dimension=DIMENSION)
            file = write_lines(tmp_path / "x.jsonl", documents(5))
            assert (await notes.load(file)).documents == 5
            assert await notes.export(tmp_path / "y.parquet") == 5

    asyncio.run(run())


@pytest.mark.parametrize(("suffix", "rows"), [("parquet", 7), ("arrow", None), ("arrows", 7)])
def test_tables_of_other_programs(
    points: akidb.CollectionHandle, tmp_path: Path, suffix: str, rows: int | None
) -> None:
    """Names, types and nulls as pandas, Hugging Face's datasets and others write them."""
    moment = datetime(2026, 11, 30, 12, 0, 0, 5, tzinfo=UTC)
    table = pa.table(
        {
            "doc_id": pa.array(range(20), pa.int64()),
            "embedding": pa.array(VECTORS[:20].astype(np.float64).tolist(), pa.list_(pa.float64())),
            "content": pa.array([f"c{n}" for n in range(20)]).dictionary_encode(),
            "lang": pa.array(["en", None] * 10).dictionary_encode(),
            "rank": pa.array([0.5] * 20, pa.float32()),
            "day": pa.array([date(2026, 11, 30)] * 20),
            "at": pa.array([moment] * 20, pa.timestamp("ns", "UTC")),
            "tags": pa.array([["a", "b"]] * 20),
            "author": pa.array(
                [{"name": "x", "age": None}] * 20, pa.struct({"name": pa.string(), "age": pa.int8()})
            ),
            "counts": pa.array([[("k", 1)]] * 20, pa.map_(pa.string(), pa.int32())),
            "__index_level_0__": pa.array(range(20)),
        }
    )
    file = write(tmp_path / f"t.{suffix}", table, rows)
    names = {"id": "doc_id", "vector": "embedding", "text": "content"}
    points.load(file, columns=names)
    found = points.get("3", include=["text", "metadata", "vector"])
    assert (found.text, np.array_equal(found.vector, VECTORS[3])) == ("c3", True)  # type: ignore[arg-type]
    wanted = {
        "rank": 0.5,
        "day": "2026-11-30",
        "at": "2026-11-30T12:00:00.000005+00:00",
        "tags": ["a", "b"],
        "author": {"name": "x"},
        "counts": {"k": 1},
    }
    assert found.metadata == wanted
    assert points.get("2").metadata == {**wanted, "lang": "en"}
    points.load(file, columns=names, metadata_columns=["lang"])
    assert points.get("3").metadata == {}
    assert points.get("2").metadata == {"lang": "en"}


def test_metadata_as_struct_map_or_json(points: akidb.CollectionHandle, tmp_path: Path) -> None:
    suffix = "parquet"
    values = [{"a": 1, "b": {"c": None, "d": "x"}}, {"a": None, "b": None}, None]
    struct = pa.struct({"a": pa.int64(), "b": pa.struct({"c": pa.int8(), "d": pa.string()})})
    strings = pa.array(['{"a": 1, "z": null}', None, "{}"])
    for kind, metadata, wanted in (
        ("struct", pa.array(values, struct), [{"a": 1, "b": {"d": "x"}}, {}, {}]),
        ("json", strings, [{"a": 1, "z": None}, {}, {}]),
        ("map", pa.array([[("k", 1.5)], [], None], pa.map_(pa.string(), pa.float64())), [{"k": 1.5}, {}, {}]),
    ):
        table = pa.table(
            {"id": ["a", "b", "c"], "text": ["x", "y", "z"], "metadata": metadata, "other": [1] * 3}
        )
        points.load(write(tmp_path / f"{kind}.{suffix}", table))
        assert [each.metadata for each in points.scan_all()] == wanted
        points.load(tmp_path / f"{kind}.{suffix}", metadata_columns=["other"])
        assert [each.metadata for each in points.scan_all()] == [{**each, "other": 1} for each in wanted]


@pytest.mark.parametrize("kind", [pa.float16(), pa.float32(), pa.int8()], ids=str)
def test_vectors_of_any_list(points: akidb.CollectionHandle, tmp_path: Path, kind: Any) -> None:
    rows = (VECTORS[:4] * 10).astype(kind.to_pandas_dtype())
    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(VECTORS[:4])
    for number, array in enumerate(
        [
            pa.array(rows.tolist(), pa.list_(kind, DIMENSION)),
            pa.array(rows.tolist(), pa.large_list(kind)),
            tensor,
            pa.array([*rows[:3].tolist(), None], pa.list_(kind, DIMENSION)),
            pa.array([None, *rows[1:].tolist()], pa.list_(kind)),
        ]
    ):
        file = write(tmp_path / f"{number}.arrow", pa.table({"vector": array, "text": list("abcd")}).slice(0))
        points.clear()
        assert points.load(file, id_prefix="row-").without_vector == (number > 2)
        found = points.get("row-1", include=["vector"]).vector
        assert np.array_equal(found, VECTORS[1] if number == 2 else rows[1].astype(np.float32))  # type: ignore[arg-type]


def test_lines_with_other_names(points: akidb.CollectionHandle, tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    rows = [{"key": 7, "v": VECTORS[0].tolist(), "year": 2026}, {"key": None, "body": "x", "year": None}]
    file.write_text("\ufeff\n" + "\n\n".join(map(json.dumps, rows)), encoding="utf-8")
    points.load(file, columns={"id": "key", "vector": "v", "text": "body"}, id_prefix="n")
    assert [(each.id, each.text, each.metadata) for each in points.scan_all()] == [
        ("7", None, {"year": 2026}),
        ("n1", "x", {"year": None}),
    ]
    points.load(
        file, columns={"id": "key", "vector": "v", "text": "body"}, metadata_columns=[], id_prefix="n"
    )
    assert points.get("7").metadata == {}


def test_texts_are_embedded_in_small_batches(kb: akidb.DatabaseHandle, tmp_path: Path) -> None:
    notes = kb.collections.create("notes", embedding_model="hash")
    texts = pa.table({"id": [str(n) for n in range(600)], "text": [f"word{n}" for n in range(600)]})
    assert notes.load(write(tmp_path / "x.parquet", texts)).batches == 3
    lines = write_lines(tmp_path / "x.jsonl", texts.to_pylist())
    assert notes.load(lines).batches == 3
    assert notes.search("word17", top_k=1)[0].id == "17"


def test_batches_are_bounded_in_bytes(
    points: akidb.CollectionHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (parts, arrow_files):
        monkeypatch.setattr(module, "BATCH_BYTES", 10_000)
    monkeypatch.setattr("akidb.client.bulk.jsonl.BATCH_BYTES", 10_000)
    rows = [{"id": f"{n:02}", "text": "x" * 1_000} for n in range(30)]
    table = pa.table({"id": [row["id"] for row in rows], "text": [row["text"] for row in rows]})
    encoded = table.set_column(1, "text", table["text"].dictionary_encode())
    files = [write(tmp_path / f"x.{suffix}", table) for suffix in TABLES]
    files += [write(tmp_path / f"d.{suffix}", encoded) for suffix in TABLES]
    for file in (*files, write_lines(tmp_path / "x.jsonl", rows)):
        points.clear()
        assert points.load(file).batches in {3, 4}, file
        assert [(each.id, each.text) for each in points.scan_all()] == [
            (row["id"], row["text"]) for row in rows
        ]
