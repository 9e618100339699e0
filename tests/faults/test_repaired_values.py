"""`akidb doctor --repair` of values that are beside the truth: sound documents stay, and can be used."""

from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from damaged_metadata import Wrong, damage
from fault_tools import add_tenant, at, document, documents, opened, unsound

from akidb.deployment.local import METADATA_NAME
from akidb.domain.documents import Include
from akidb.domain.errors import Damaged, Unavailable
from akidb.operations.archives import ExportTenant
from akidb.operations.changes import GetCollectionChanges
from akidb.operations.collections import CreateCollection, GetCollection
from akidb.operations.documents import (
    CountDocuments,
    DeleteDocuments,
    GetDocuments,
    SearchDocuments,
    UpsertDocuments,
)
from akidb.operations.tenants import GetTenant
from akidb.sql.sqlite_library import library

C: dict[str, Any] = at("hurt")._asdict()
OTHER: dict[str, Any] = at("sound")._asdict()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Two tenants, each with documents and a deletion in `c`, and an empty collection `e`."""
    with opened(tmp_path) as operations:
        for slug in ("hurt", "sound"):
            add_tenant(operations, slug, "c", "e")
            operations.perform(UpsertDocuments(**at(slug)._asdict(), documents=documents(6)))
            operations.perform(DeleteDocuments(**at(slug)._asdict(), ids=["x5"]))
    return tmp_path


def store_of(directory: Path, slug: str = "hurt") -> Path:
    with opened(directory) as operations:
        return directory / "tenants" / f"{operations.perform(GetTenant(tenant=slug)).tenant_id}.db"


def execute(path: Path, statement: str) -> None:
    with closing(library.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(statement)


def kinds(directory: Path) -> list[str]:
    with opened(directory) as operations:
        return [repair.kind for repair in operations.repairing().plan()]


def repair(directory: Path) -> list[str]:
    with opened(directory) as operations:
        repairing = operations.repairing()
        plan = repairing.plan()
        repairing.carry_out(plan)
        return [repair.kind for repair in plan]


def is_whole(directory: Path) -> None:
    """All documents are there, and can be searched, and others written."""
    with opened(directory) as operations:
        assert unsound(operations) == []
        found = operations.perform(GetDocuments(**C, ids=["x1"], include=frozenset(Include)))
        assert found[0].text == document("x1")["text"]
        vector = document("x2")["vector"]
        assert operations.perform(SearchDocuments(**C, vector=vector, top_k=1)).matches[0].id == "x2"
        assert operations.perform(CountDocuments(**C)) == 5
        operations.perform(UpsertDocuments(**C, documents=[document("new")]))
        changes = operations.perform(GetCollectionChanges(**C)).changes
        assert changes[-1].id == "new"
        assert operations.perform(CountDocuments(**C)) == 6
        assert unsound(operations) == []


@pytest.mark.parametrize("value", [17, 1024])
def test_flipped_dimension_in_metadata_gives_way_to_vectors(value: int, directory: Path) -> None:
    damage(directory / METADATA_NAME, Wrong("collections", "dimension", str(value)))
    with opened(directory) as operations:
        assert f"is {value} in the metadata, 16 in the store" in str(unsound(operations))
    assert repair(directory) == ["rebuild"]
    with opened(directory) as operations:
        assert operations.perform(GetCollection(**C)).dimension == 16
    assert kinds(directory) == []
    is_whole(directory)


def test_flipped_dimension_in_store_gives_way_to_vectors(directory: Path) -> None:
    execute(store_of(directory), "UPDATE collections SET dimension = 32 WHERE collection_key = 1")
    assert repair(directory) == ["rebuild"]
    assert kinds(directory) == []
    is_whole(directory)


def test_dimension_that_no_vectors_tell_is_left(directory: Path) -> None:
    path = store_of(directory)
    execute(path, "UPDATE collections SET dimension = 32 WHERE collection_key = 2")
    assert repair(directory) == ["leave"]
    # The rest of the store is repaired all the same.
    execute(path, "UPDATE collections SET document_count = 1 WHERE collection_key = 1")
    assert repair(directory) == ["leave", "rebuild"]
    assert kinds(directory) == ["leave"]
    with opened(directory) as operations:
        assert operations.perform(CountDocuments(**C)) == 5
        assert "is 16 in the metadata, 32 in the store" in str(unsound(operations))


@pytest.mark.parametrize(("table", "column"), [("collections", "hnsw_m"), ("tenants", "storage_quota_bytes")])
def test_store_of_damaged_metadata_is_left_and_others_are_repaired(
    table: str, column: str, directory: Path
) -> None:
    execute(store_of(directory, "sound"), "UPDATE collections SET document_count = 1")
    path = store_of(directory)
    damage(directory / METADATA_NAME, Wrong(table, column, "x'07'"))
    content = path.read_bytes()
    assert sorted(repair(directory)) == ["leave", "rebuild"]
    assert path.read_bytes() == content
    assert kinds(directory) == ["leave"]
    with opened(directory) as operations:
        with pytest.raises(Damaged, match=column):
            operations.perform(CountDocuments(**C))
        assert operations.perform(CountDocuments(**OTHER)) == 5


@pytest.mark.parametrize(
    ("column", "literal"),
    [
        ("dimension", "4611686018427387904"),
        ("dimension", "x'07'"),
        ("metric", "'zzz'"),
        ("max_document_count", "-5"),
        ("version", "9223372036854775807"),
    ],
)
def test_value_that_metadata_lost_is_taken_from_store(column: str, literal: str, directory: Path) -> None:
    with opened(directory) as operations:
        before = operations.perform(GetCollection(**C))
    damage(directory / METADATA_NAME, Wrong("collections", column, literal))
    with opened(directory) as operations, pytest.raises(Damaged, match=column):
        operations.perform(GetCollection(**C))
    assert repair(directory) == ["recall"]
    assert kinds(directory) == []
    with opened(directory) as operations:
        assert getattr(operations.perform(GetCollection(**C)), column) == getattr(before, column)
    is_whole(directory)


@pytest.mark.parametrize(
    "values",
    [
        "sequence = 9223372036854775807",
        "sequence = 4611686018427387904",
        "sequence = 3",
        "sequence = 9223372036854775807, tombstone_floor = 9223372036854775807",
        "tombstone_floor = 9",
        "version = 2147483648",
        "dimension = 4611686018427387904",
    ],
)
def test_numbers_of_collection_follow_from_its_rows(values: str, directory: Path) -> None:
    execute(store_of(directory), f"UPDATE collections SET {values} WHERE collection_key = 1")
    with opened(directory) as operations:
        assert unsound(operations) != []
    assert repair(directory) == ["rebuild"]
    assert kinds(directory) == []
    is_whole(directory)


def test_sizes_whose_sum_is_beyond_all_numbers_are_computed_anew(directory: Path) -> None:
    execute(store_of(directory), "UPDATE documents SET size_bytes = 4611686018427387904")
    with opened(directory) as operations:
        assert "5 documents are charged for another size" in str(unsound(operations))
    assert repair(directory) == ["rebuild"]
    is_whole(directory)


@pytest.mark.parametrize("values", ["sequence = 1", "dimension = 4611686018427387904"])
def test_use_of_damaged_numbers_names_the_collection(values: str, directory: Path) -> None:
    execute(store_of(directory), f"UPDATE collections SET {values} WHERE collection_key = 1")
    with opened(directory) as operations:
        collection_id = operations.perform(GetCollection(**C)).collection_id
        refused = 0
        for request, ends in (
            (UpsertDocuments(**C, documents=[document("new")]), {}),
            (SearchDocuments(**C, vector=document("x2")["vector"], top_k=1), {}),
            (ExportTenant(tenant=C["tenant"]), {"sink": BytesIO()}),
        ):
            try:
                operations.perform(request, **ends)
            except Unavailable as error:
                refused += 1
                assert str(collection_id) in error.message  # noqa: PT017
        assert refused


def test_version_ahead_of_metadata_is_written_anew(directory: Path) -> None:
    execute(store_of(directory), "UPDATE control SET tenant_version = 2147483648")
    assert repair(directory) == ["rebuild"]
    is_whole(directory)


def test_store_ahead_of_metadata_needs_no_repair(directory: Path) -> None:
    """As after a crash, when the metadata have not learned the dimension of the first vector."""
    store_of(directory)
    execute(directory / METADATA_NAME, "UPDATE collections SET dimension = NULL")
    assert kinds(directory) == []
    with opened(directory) as operations:
        assert unsound(operations) == []
        assert operations.perform(GetCollection(**C)).dimension == 16
        assert operations.perform(GetCollection(**at("hurt", "e")._asdict())).dimension == 16
    is_whole(directory)


def test_store_that_lost_a_dimension_gets_it_from_its_vectors(directory: Path) -> None:
    execute(store_of(directory), "UPDATE collections SET dimension = NULL")
    with opened(directory) as operations:
        assert "vectors have the wrong dimension" in str(unsound(operations))
    assert repair(directory) == ["rebuild"]
    assert kinds(directory) == []
    is_whole(directory)


def test_dimension_that_both_lost_is_that_of_the_vectors(directory: Path) -> None:
    execute(store_of(directory), "UPDATE collections SET dimension = NULL")
    execute(directory / METADATA_NAME, "UPDATE collections SET dimension = NULL")
    assert repair(directory) == ["rebuild"]
    assert kinds(directory) == []
    with opened(directory) as operations:
        assert operations.perform(GetCollection(**C)).dimension == 16
        assert operations.perform(GetCollection(**at("hurt", "e")._asdict())).dimension is None
    is_whole(directory)


def test_damaged_dimension_of_an_empty_collection_without_one_is_removed(directory: Path) -> None:
    with opened(directory) as operations:
        operations.perform(CreateCollection(tenant="hurt", database="d", name="bare"))
    metadata, store = directory / METADATA_NAME, store_of(directory)
    for database, row in ((store, "collection_key = 3"), (metadata, "name = 'bare'")):
        execute(database, f"UPDATE collections SET dimension = 4611686018427387904 WHERE {row}")
        assert repair(directory) in (["rebuild"], ["recall"])
        assert kinds(directory) == []
        with opened(directory) as operations:
            assert unsound(operations) == []
            assert operations.perform(GetCollection(**at("hurt", "bare")._asdict())).dimension is None
