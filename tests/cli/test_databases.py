"""`akidb database` and `akidb collection`."""

from pathlib import Path

import pytest

from .conftest import Run


@pytest.fixture
def aki(akidb: Run) -> str:
    assert akidb("tenant", "create", "Aki").status == 0
    return "aki"


def test_database_is_created_shown_listed_and_updated(akidb: Run, aki: str) -> None:
    made = akidb("database", "create", aki, "kb", "--description", "notes", "--json").json
    assert (made["name"], made["description"], made["state"]) == ("kb", "notes", "ready")
    assert akidb("database", "get", f"{aki}/kb", "--json").json == made
    assert akidb("database", "get", f"{aki}/{made['database_id']}", "--json").json == made
    assert akidb("database", "list", aki, "--json").json == {"items": [made], "next_cursor": None}
    assert "notes" in akidb("database", "list", aki).out
    changed = akidb(
        "database", "update", f"{aki}/kb", "--name", "kb2", "--description", "", "--state", "migrating",
        "--schema-version", "2", "--if-version", "1", "--json",
    ).json  # fmt: skip
    assert (changed["name"], changed["description"], changed["state"]) == ("kb2", "", "migrating")
    assert (changed["schema_version"], changed["version"]) == (2, 2)
    assert akidb("database", "update", f"{aki}/kb2").status == 2
    assert akidb("database", "create", aki, "kb2").status == 4
    assert akidb("database", "create", aki, "../x").status == 2
    assert akidb("database", "create", "nobody", "x").status == 3


def test_database_provisioning_states(akidb: Run, aki: str) -> None:
    made = akidb("database", "create", aki, "kb", "--provisioning", "--json").json
    assert made["state"] == "provisioning"
    assert akidb("database", "update", f"{aki}/kb", "--state", "migrating").status == 4
    assert akidb("database", "update", f"{aki}/kb", "--state", "ready", "--json").json["state"] == "ready"


def test_database_is_deleted_and_restored(akidb: Run, aki: str) -> None:
    made = akidb("database", "create", aki, "kb", "--json").json
    assert akidb("database", "purge", f"{aki}/kb", "--yes").status == 4
    assert akidb("database", "delete", f"{aki}/kb", "--if-version", "9").status == 4
    assert akidb("database", "delete", f"{aki}/kb", "--json").json == {"deleted": f"{aki}/kb"}
    assert akidb("database", "get", f"{aki}/kb").status == 3
    deleted = akidb("database", "list", aki, "--deleted", "--json").json["items"]
    assert [database["database_id"] for database in deleted] == [made["database_id"]]
    assert akidb("database", "restore", f"{aki}/kb", "--json").json["state"] == "ready"
    assert akidb("database", "delete", f"{aki}/kb").status == 0
    assert akidb("database", "purge", f"{aki}/kb").status == 2
    assert akidb("database", "purge", f"{aki}/kb", "--yes", "--json").json == {"purged": f"{aki}/kb"}
    assert akidb("database", "list", aki, "--deleted", "--json").json["items"] == []


def test_collection_is_created_shown_listed_and_updated(akidb: Run, aki: str) -> None:
    assert akidb("database", "create", aki, "kb").status == 0
    made = akidb(
        "collection", "create", f"{aki}/kb", "points", "--dimension", "32", "--metric", "l2", "--hnsw-m", "8",
        "--hnsw-ef-construction", "64", "--max-document-count", "10", "--json",
    ).json  # fmt: skip
    assert (made["dimension"], made["metric"], made["embedding_model"]) == (32, "l2", None)
    assert (made["hnsw_m"], made["hnsw_ef_construction"], made["max_document_count"]) == (8, 64, 10)
    assert akidb("collection", "get", f"{aki}/kb/points", "--json").json == made
    assert akidb("collection", "list", f"{aki}/kb", "--json").json["items"] == [made]
    assert "points" in akidb("collection", "list", f"{aki}/kb").out
    changed = akidb(
        "collection", "update", f"{aki}/kb/points", "--name", "p", "--hnsw-m", "4", "--max-document-count",
        "20", "--hnsw-ef-construction", "32", "--json",
    ).json  # fmt: skip
    assert (changed["name"], changed["hnsw_m"], changed["max_document_count"]) == ("p", 4, 20)
    assert akidb("collection", "update", f"{aki}/kb/p").status == 2


def test_databases_and_collections_are_counted(akidb: Run, points: str) -> None:
    assert akidb("database", "count", "aki-labs").out == "1\n"
    assert akidb("collection", "count", "aki-labs/kb", "--json").json == {"count": 1}
    assert akidb("collection", "delete", points).status == 0
    assert akidb("collection", "count", "aki-labs/kb", "--json").json == {"count": 0}
    assert akidb("collection", "count", "aki-labs/kb", "--deleted", "--json").json == {"count": 1}
    assert akidb("collection", "count", "aki-labs/none").status == 3


def test_collection_takes_dimension_from_first_vector(akidb: Run, aki: str, tmp_path: Path) -> None:
    assert akidb("database", "create", aki, "kb").status == 0
    made = akidb("collection", "create", f"{aki}/kb", "n", "--json").json
    assert (made["dimension"], made["embedding_model"]) == (None, None)
    shown = akidb("collection", "get", f"{aki}/kb/n").out
    assert [line.split() for line in shown.splitlines() if "dimension" in line] == [["dimension", "-"]]
    assert akidb("collection", "list", f"{aki}/kb").out.splitlines()[1].split()[2] == "-"
    documents = tmp_path / "documents.jsonl"
    documents.write_text('{"id": "a", "vector": [1, 2, 3]}\n')
    assert akidb("document", "import", f"{aki}/kb/n", str(documents)).status == 0
    assert akidb("collection", "get", f"{aki}/kb/n", "--json").json["dimension"] == 3


def test_collection_takes_dimension_from_model(akidb: Run, aki: str) -> None:
    assert akidb("database", "create", aki, "kb").status == 0
    made = akidb("collection", "create", f"{aki}/kb", "n", "--embedding-model", "hash", "--json").json
    info = akidb("model", "info", "hash", "--json").json
    assert (made["dimension"], made["embedding_model"]) == (info["dimension"], "hash")


@pytest.mark.parametrize(
    ("options", "status"),
    [
        (["--dimension", "0"], 2),
        (["--dimension", "32", "--metric", "hamming"], 2),
        (["--embedding-model", "nope"], 3),
    ],
)
def test_invalid_collection_is_rejected(akidb: Run, aki: str, options: list[str], status: int) -> None:
    assert akidb("database", "create", aki, "kb").status == 0
    assert akidb("collection", "create", f"{aki}/kb", "n", *options).status == status
    assert akidb("collection", "list", f"{aki}/kb", "--json").json["items"] == []


def test_collection_is_deleted_and_restored_with_its_documents(
    akidb: Run, notes: str, tmp_path: object
) -> None:
    from pathlib import Path

    file = Path(str(tmp_path)) / "x.jsonl"
    file.write_text('{"id": "a", "text": "vectors live in SQL"}\n')
    assert akidb("document", "import", notes, file).status == 0
    assert akidb("collection", "delete", notes).status == 0
    assert akidb("document", "count", notes).status == 3
    assert akidb("collection", "restore", notes, "--json").json["state"] == "ready"
    assert akidb("document", "count", notes, "--json").json == {"count": 1}
    assert akidb("collection", "delete", notes).status == 0
    assert akidb("collection", "purge", notes).status == 2
    assert akidb("collection", "purge", notes, "--yes", "--json").json == {"purged": notes}
    assert akidb("collection", "restore", notes).status == 3
