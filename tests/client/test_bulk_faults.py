"""Loads that fail or are interrupted, and go on afterwards."""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import akidb
from akidb.client.bulk import arrow_batches
from akidb.domain.errors import InvalidArgument, QuotaExceeded, Unavailable
from bulk_files import DIMENSION, SUFFIXES, TABLES, StopError, contents, documents, write, write_lines


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


def faulty_rows(suffix: str, tmp_path: Path) -> Path:
    """Row 43 has a vector of zeros."""
    rows = documents()
    rows[42]["vector"] = [0.0] * DIMENSION
    if suffix == "jsonl":
        path = write_lines(tmp_path / "bad.jsonl", rows)
        path.write_text("\n\n" + path.read_text())
        return path
    table = pa.table({"id": [row["id"] for row in rows], "vector": [row["vector"] for row in rows]})
    return write(tmp_path / f"bad.{suffix}", table, 9)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_bad_row_is_named_with_what_was_written(
    points: akidb.CollectionHandle, tmp_path: Path, suffix: str
) -> None:
    file = faulty_rows(suffix, tmp_path)
    with pytest.raises(InvalidArgument) as refused:
        points.load(file, batch_size=10)
    error = refused.value
    word, number = ("line", "45") if suffix == "jsonl" else ("row", "43")
    place = f"{word} {number}"
    wanted = f"{file}: {place}: documents[42].vector: must not be zero with the metric cosine"
    assert error.message == wanted
    assert error.fields["written"] == 40
    assert error.fields[word] == int(number)
    assert error.__notes__ == ["the first 40 documents had been written"]
    assert points.count() == 40


def test_bad_line_is_named(points: akidb.CollectionHandle, tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    for line, reason in (
        ("{", r"documents\[2\]: malformed JSON"),
        ('{"id": "x", "text": "t", "txet": "u"}', r"documents\[2\].txet: unknown field"),
        ('{"id": "x", "id": "y"}', r"documents\[2\].id: duplicate key"),
        ('{"id": "x", "vector": [NaN]}', r"documents\[2\].vector\[0\]: NaN"),
        ("[]", r"documents\[2\]: expected object"),
        ('{"id": "x"}', r"documents\[2\]: needs a text"),
    ):
        file.write_text('{"id": "a", "text": "x"}\n\n{"id": "b", "text": "y"}\n' + line + "\n")
        with pytest.raises(InvalidArgument, match=f"^{file}: line 4: {reason}"):
            points.load(file)
    assert points.count() == 0


FAULTY_TABLES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "missing": (
        {"id": ["a"], "text": ["x"]},
        {"columns": {"vector": "v"}},
        "columns.vector: no column 'v'; there",
    ),
    "missing metadata": ({"text": ["x"]}, {"metadata_columns": ["m"]}, "metadata_columns: no column 'm'"),
    "two vectors": (
        {"text": ["x"], "embedding": [[1.0]]},
        {},
        "columns: column 'embedding' has lists of floats: name it as the vector, or name metadata_columns",
    ),
    "nothing": ({"id": ["a"]}, {}, "columns: no column for text, vector or metadata; there are 'id'"),
    "text": ({"text": [1]}, {}, "columns.text: column 'text' must have text, not int64"),
    "vector": (
        {"vector": ["[1]"]},
        {},
        "columns.vector: column 'vector' must have lists of numbers, not str",
    ),
    "metadata": (
        {"metadata": [1]},
        {},
        "columns.metadata: column 'metadata' must have structs, maps or JSON",
    ),
    "binary": ({"text": ["x"], "image": [b"x"]}, {}, "metadata_columns: column 'image' has the type binary"),
    "null number": (
        {"vector": [[1.0] * DIMENSION, [1.0, None] * (DIMENSION // 2)]},
        {},
        r"row 2: documents[1].vector[1]: must be a number, not null",
    ),
    "dimension": (
        {"vector": [[1.0] * DIMENSION, [1.0]]},
        {},
        "row 2: documents[1].vector: must have 16 dimensions",
    ),
    "NaN": (
        {"text": ["a", "b"], "x": [1.0, float("nan")]},
        {},
        "row 2: documents[1].metadata.x: must be finite",
    ),
    "JSON": (
        {"text": ["a"], "metadata": ['{"a":1,"a":2}']},
        {},
        "row 1: documents[0].metadata.a: duplicate key",
    ),
    "twice": ({"id": ["a", "a"], "text": ["x", "y"]}, {}, "row 2: documents[1].id: is also the id of"),
}


def test_faulty_tables(points: akidb.CollectionHandle, tmp_path: Path) -> None:
    cases = [(name, suffix) for name in FAULTY_TABLES for suffix in TABLES]
    for name, suffix in cases:
        columns, options, reason = FAULTY_TABLES[name]
        file = write(tmp_path / f"x.{suffix}", pa.table(columns))
        with pytest.raises(InvalidArgument) as refused:
            points.load(file, **options)
        assert refused.value.message.startswith(f"{file}: {reason}")
    assert points.count() == 0


def test_wrong_arguments_and_files(points: akidb.CollectionHandle, tmp_path: Path) -> None:
    lines = write_lines(tmp_path / "x.jsonl", documents(2))
    (tmp_path / "x.parquet").write_bytes(lines.read_bytes())
    (tmp_path / "x.arrow").write_bytes(b"")
    cases: list[tuple[Any, dict[str, Any], str]] = [
        (tmp_path / "none.jsonl", {}, "file: cannot read .*none.jsonl: No such file"),
        (tmp_path / "none.parquet", {}, "file: .*none.parquet cannot be read as parquet: .*No such file"),
        (tmp_path / "x.parquet", {}, "file: .*x.parquet cannot be read as parquet: "),
        (tmp_path / "x.arrow", {}, "file: .*x.arrow cannot be read as arrow: "),
        (tmp_path / "x.arrow", {"format": "arrows"}, "file: .*x.arrow cannot be read as arrows: "),
        (tmp_path / "x.csv", {}, "format: is needed for a file without a known suffix"),
        (lines, {"format": "csv"}, "format: must be"),
        (lines, {"batch_size": 0}, "batch_size: "),
        (lines, {"mode": "replace"}, "mode: "),
        (lines, {"columns": {"ids": "x"}}, "columns: has 'ids', which is not one of id"),
        (lines, {"columns": {"id": 1}}, "columns.id: must be the name"),
        (lines, {"metadata_columns": "x"}, "metadata_columns: must be a list"),
        (lines, {"id_prefix": 1}, "id_prefix: must be text"),
        (io.BytesIO(), {"format": "jsonl", "resume": True}, "resume: needs the path"),
    ]
    for file, options, reason in cases:
        with pytest.raises(InvalidArgument, match=f"^{reason}"):
            points.load(file, **options)
    assert points.count() == 0
    damaged = write(tmp_path / "y.parquet", pa.table({"text": ["abc" * 99] * 50}), 10, use_dictionary=False)
    page = pq.ParquetFile(damaged).metadata.row_group(3).column(0).data_page_offset
    whole = bytearray(damaged.read_bytes())
    whole[page : page + 20] = b"\xff" * 20
    damaged.write_bytes(whole)
    with pytest.raises(InvalidArgument, match=r"^file: .*y.parquet cannot be read as parquet after row 30"):
        points.load(damaged, batch_size=10)


def test_missing_pyarrow_is_named(
    points: akidb.CollectionHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "x.parquet", pa.table({"id": ["a"], "text": ["x"]}))
    lines = write_lines(tmp_path / "x.jsonl", documents(2))
    for name in [name for name in sys.modules if name.split(".")[0] == "pyarrow"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        Unavailable, match=r"the extra 'arrow' is not installed .* pip install 'akidb\[arrow\]'"
    ):
        points.load(file)
    with pytest.raises(Unavailable, match="the extra 'arrow' is not installed"):
        points.export(tmp_path / "y.arrow")
    assert not (tmp_path / "y.arrow").exists()
    assert points.load(lines).documents == 2
    assert points.export(tmp_path / "y.jsonl") == 2


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [("jsonl", "upsert"), ("parquet", "insert"), ("arrow", "insert"), ("arrows", "upsert")],
)
def test_load_is_resumed_after_the_last_batch(
    points: akidb.CollectionHandle, tmp_path: Path, suffix: str, mode: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    points.upsert(documents())
    file = tmp_path / f"x.{suffix}"
    points.export(file)
    wanted = contents(points)
    points.clear()
    state = tmp_path / "state"

    def stop_at(count: int) -> Any:
        def progress(done: akidb.LoadResult) -> None:
            if done.documents >= count:
                raise StopError

        return progress

    options: dict[str, Any] = {"mode": mode, "batch_size": 7, "resume": state}
    with pytest.raises(StopError) as stopped:
        points.load(file, **options, progress=stop_at(14))
    assert stopped.value.__notes__ == ["the first 14 documents had been written"]
    with monkeypatch.context() as crash:  # between the batch and the record of it

        def crashed(*_: object) -> None:
            raise StopError

        crash.setattr("akidb.client.bulk.resuming.Progress.acknowledge", crashed)
        with pytest.raises(StopError):
            points.load(file, **options)
    assert points.count() == 21
    with pytest.raises(
        InvalidArgument, match=r"^resume: .*state is of a load with another batch_size: 7; delete it"
    ):
        points.load(file, **{**options, "batch_size": 8})
    points.delete(["d00"])  # what was loaded is not loaded again
    done = points.load(file, **options)
    assert (done.resumed_after, done.documents, done.upserted, done.batches) == (14, 50, 50, 8)
    assert contents(points) == wanted[1:]
    assert not state.exists()


def test_resume_refuses_another_file_collection_or_rows_without_ids(
    kb: akidb.DatabaseHandle, points: akidb.CollectionHandle, tmp_path: Path
) -> None:
    file = write_lines(tmp_path / "x.jsonl", documents(20))

    def stop(_: object) -> None:
        raise StopError

    with pytest.raises(StopError):
        points.load(file, batch_size=5, resume=True, progress=stop)
    state = tmp_path / "x.jsonl.akidb-load"
    other = kb.collections.create("other", dimension=DIMENSION)
    with pytest.raises(InvalidArgument, match=r"^resume: .* is of a load with another collection"):
        other.load(file, batch_size=5, resume=True)
    whole = file.read_text()
    file.write_text(whole.replace("text 1 ", "text 2 "))
    with pytest.raises(InvalidArgument, match=r"^resume: .* is of another content"):
        points.load(file, batch_size=5, resume=True)
    file.write_text(whole[:-100])
    with pytest.raises(InvalidArgument, match=r"^resume: .* is of another .*, which had"):
        points.load(file, batch_size=5, resume=True)
    file.write_text(whole + json.dumps({"id": "more", "text": "x"}))  # lines may be appended
    assert points.load(file, batch_size=5, resume=True).documents == 21
    assert not state.exists()
    state.write_text("{")
    with pytest.raises(InvalidArgument, match=r"^resume: .*cannot be read: .*delete it"):
        points.load(file, resume=True)
    state.unlink()
    file.write_text('{"id": "a", "text": "x"}\n{"text": "y"}\n')
    with pytest.raises(
        InvalidArgument, match=r"line 2: documents\[1\].id: is needed to resume: give id_prefix"
    ):
        points.load(file, resume=True)
    state.unlink()
    assert points.load(file, resume=True, id_prefix="x-").upserted == 2
    assert points.exists("x-1")


def test_failed_export_leaves_no_file(points: akidb.CollectionHandle, tmp_path: Path) -> None:
    points.upsert(documents(5))

    def stop(_: int) -> None:
        raise StopError

    for suffix in SUFFIXES:
        with pytest.raises(StopError):
            points.export(tmp_path / f"x.{suffix}", progress=stop)
    assert list(tmp_path.glob("*x.*")) == []


def test_compressed_batches_are_bounded(
    points: akidb.CollectionHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = pa.table({"id": [f"d{n:02}" for n in range(40)], "text": ["x" * 1_000] * 40})
    monkeypatch.setattr(arrow_batches, "MAX_COMPRESSED_BYTES", 25_000)
    for suffix in ("arrow", "arrows"):
        for codec in ("zstd", "lz4"):
            file = write(tmp_path / f"{codec}.{suffix}", table, 20, compression=codec)
            assert points.load(file).total == 40
            large = write(tmp_path / f"large-{codec}.{suffix}", table, compression=codec)
            with pytest.raises(InvalidArgument, match=f"^{large}: file: has a compressed record batch of 40"):
                points.load(large)
            with pytest.raises(InvalidArgument, match="has a compressed record batch of 40"):
                points.load(io.BytesIO(large.read_bytes()), format=suffix)
        assert points.load(write(tmp_path / f"plain.{suffix}", table)).total == 40
        encoded = table.set_column(1, "text", table["text"].dictionary_encode())
        assert points.load(write(tmp_path / f"encoded.{suffix}", encoded, compression="lz4")).total == 40
        cut = tmp_path / f"cut.{suffix}"
        cut.write_bytes(file.read_bytes()[:-400])
        with pytest.raises(InvalidArgument, match=f"cut.{suffix} cannot be read as {suffix}"):
            points.load(cut)


def test_quota_is_that_of_upserts(db: akidb.Client, tmp_path: Path) -> None:
    tenant = db.tenants.create("Small", storage_quota_bytes=10_000)
    notes = tenant.databases.create("kb").collections.create("n")
    file = write(
        tmp_path / "x.parquet", pa.table({"id": [str(n) for n in range(20)], "text": ["x" * 900] * 20})
    )
    with pytest.raises(QuotaExceeded) as refused:
        notes.load(file, batch_size=5)
    assert (notes.count(), refused.value.fields["written"]) == (10, 10)
