"""`akidb document import` and `export` with tables, names of columns, and loads that are resumed."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from akidb.client.bulk.resuming import Progress
from bulk_files import write

from .conftest import Run

VECTORS = np.random.default_rng(3).standard_normal((30, 16)).astype(np.float32)


def table(**more: Any) -> pa.Table:
    ids = [f"d{n:02}" for n in range(30)]
    return pa.table({"id": ids, "vector": VECTORS.tolist(), "lang": ["en", "de", None] * 10, **more})


@pytest.mark.parametrize("suffix", ["jsonl", "parquet", "arrow", "arrows"])
def test_files_are_exported_and_imported(akidb: Run, points: str, tmp_path: Path, suffix: str) -> None:
    first = write(tmp_path / "first.parquet", table(), 7)
    done = akidb("document", "import", points, first, "--json").json
    assert (done["imported"], done["skipped"], done["resumed_after"]) == (30, 0, 0)
    before = akidb("document", "export", points, "--vectors").out
    assert json.loads(before.splitlines()[1])["metadata"] == {"lang": "de"}
    file = tmp_path / f"x.{suffix}"
    told = akidb("document", "export", points, file, "--vectors", "--json").json
    assert (told["file"], told["bytes"]) == (str(file), file.stat().st_size)
    refused = akidb("document", "export", points, file)
    assert refused.status == 4
    assert "--force overwrites it" in refused.err
    akidb("document", "clear", points, "--yes")
    assert akidb("document", "import", points, file).out.startswith("imported 30 documents in ")
    assert akidb("document", "export", points, "--vectors").out == before
    few = akidb("document", "export", points, file, "--force", "--filter", '{"lang": "de"}')
    assert few.out.startswith(f"exported to {file}")
    assert akidb("document", "import", points, file, "--mode", "skip", "--json").json["skipped"] == 10


def test_columns_are_named(akidb: Run, points: str, tmp_path: Path) -> None:
    named = table(year=[2026] * 30).rename_columns(["key", "embedding", "lang", "year"])
    file = tmp_path / "data.bin"
    pq.write_table(named.drop_columns(["key"]), file)
    options = ("--format", "parquet", "--column", "vector=embedding", "--id-prefix", "row-")
    akidb("document", "import", points, file, *options, "--metadata-column", "year")
    found = akidb("document", "get", points, "row-7", "--json").json["documents"][0]
    assert found["metadata"] == {"year": 2026}
    for column in ("embedding", "ids=x"):
        wrong = akidb("document", "import", points, file, "--column", column).err
        assert wrong.startswith("error: invalid_argument: column: must be FIELD=NAME")
    missing = akidb("document", "import", points, file, "--format", "parquet").err
    assert "columns: column 'embedding' has lists of floats: name it as the vector" in missing


def test_whole_table_is_checked_first(akidb: Run, points: str, tmp_path: Path) -> None:
    ids = [f"d{n}" for n in range(2_500)]
    file = tmp_path / "x.parquet"
    for rows, reason in (
        (
            table(text=["x"] * 29 + ["\0"]),
            "row 30: documents[29].text: must not contain the character U+0000",
        ),
        (
            pa.table({"id": [*ids, "d3"], "text": ["x"] * 2_501}),
            "row 2501: documents[2500].id: is already used in row 4",
        ),
        (pa.table({"text": pa.array([], pa.string())}), "file: contains no documents; use --allow-empty"),
    ):
        pq.write_table(rows, file)
        result = akidb("document", "import", points, file)
        assert (result.status, result.out, result.err.count("\n")) == (2, "", 1)
        assert reason in result.err
    assert akidb("document", "count", points, "--json").json == {"count": 0}
    assert akidb("document", "import", points, file, "--allow-empty").status == 0


def test_standard_streams(akidb: Run, points: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "x.arrows", table())
    with file.open("rb") as source:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(source))
        done = akidb("document", "import", points, "-", "--format", "arrows", "--json").json
    assert done["imported"] == 30
    with (tmp_path / "x.arrows").open("rb") as source:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(source))
        assert "resume: needs the path" in akidb("document", "import", points, "-", "--resume").err
    assert akidb("document", "export", points, "--format", "jsonl").out.count("\n") == 30


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_interrupted_import_is_resumed(
    akidb: Run, points: str, tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    akidb("document", "import", points, write(tmp_path / "first.parquet", table()))
    file = tmp_path / f"x.{suffix}"
    akidb("document", "export", points, file, "--vectors")
    before = akidb("document", "export", points, "--vectors").out
    akidb("document", "clear", points, "--yes")
    monkeypatch.setattr("akidb.cli.files.CHECKED_ROWS", 10)
    state = tmp_path / "state"
    acknowledge = Progress.acknowledge

    def interrupted(self: Progress, position: Any, done: Any) -> None:
        acknowledge(self, position, done)
        if position.rows == 20:
            raise KeyboardInterrupt

    with monkeypatch.context() as interrupting:
        interrupting.setattr(Progress, "acknowledge", interrupted)
        told = akidb("document", "import", points, file, "--state", state)
    assert told.status == 130
    assert "the first 20 documents had been written" in told.err
    assert "the same command continues there" in told.err
    assert akidb("document", "count", points, "--json").json == {"count": 20}
    done = akidb("document", "import", points, file, "--state", state, "--json").json
    assert (done["imported"], done["resumed_after"]) == (30, 20)
    assert akidb("document", "export", points, "--vectors").out == before
    assert not state.exists()
    assert akidb("document", "import", points, file, "--resume").status == 0
