"""A wrong value in each column of each table of a tenant's file: no internal error, and doctor finds it."""

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fault_tools import add_tenant, at, document, documents, opened, unsound
from wrong_values import OF_TYPE, TEXTS, USUAL, columns, put, store_of, tables

from akidb.deployment.local import LocalOperations, open_local
from akidb.domain.documents import Include
from akidb.domain.errors import AkiDBError, Damaged, Internal
from akidb.observe.context import request as keyed
from akidb.operations.archives import CreateBackup, ExportTenant
from akidb.operations.changes import GetCollectionChanges
from akidb.operations.documents import (
    CountDocuments,
    DeleteDocuments,
    GetDocuments,
    ScanDocuments,
    SearchDocuments,
    UpdateDocuments,
    UpsertDocuments,
)
from akidb.operations.tenants import GetUsage
from akidb.operations.upkeep import MaintainStores
from akidb.settings import Settings
from akidb.sql.sqlite_library import library

C: dict[str, Any] = at("t")._asdict()
ALL = frozenset(Include)
V = [1.0] * 16
KEYED = UpsertDocuments(**C, documents=[{"vector": V}])

NOT_FOUND = {
    "control.tenant_version": "a store is not told of every change: its own may be lower",
    "collections.tombstone_floor": "readers of a change feed start over, no later than needed",
    "documents.document_key": "it is any number that no other row has",
    "documents.content_checksum": "as in rows of older versions, which have none",
    "documents.vector_checksum": "as in rows of older versions, which have none",
    "tombstones.checksum": "as in rows of older versions, which have none",
    "remembered_answers.checksum": "as in rows of older versions, which have none",
    "remembered_answers.created_at": "it decides only when the response is forgotten",
}
"""Columns of which some wrong values are not found, and why that does no harm."""
NOT_REPAIRED = {"collections.collection_key", "collections.collection_id", "documents"}
"""What needs a backup, or writing documents again."""


class Sink:
    def write(self, data: bytes, /) -> int:
        return len(data)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed directory with two collections, deletions and a remembered answer. Copy it."""
    directory = tmp_path_factory.mktemp("sound")
    with opened(directory) as operations:
        add_tenant(operations, "t", "c", "e")
        operations.perform(UpsertDocuments(**C, documents=documents(6)))
        operations.perform(UpsertDocuments(**at("t", "e")._asdict(), documents=documents(3)))
        operations.perform(DeleteDocuments(**C, ids=["x4", "x5"]))
        with keyed(idempotency_key="k"):
            operations.perform(KEYED)
    return directory


def requests() -> Iterator[tuple[Any, dict[str, Any]]]:
    yield GetDocuments(**C, ids=["x1", "x2", "x3"], include=ALL), {}
    yield ScanDocuments(**C, include=ALL), {}
    yield CountDocuments(**C), {}
    yield CountDocuments(**C, filter={"$id": {"$ne": "q"}}), {}
    yield SearchDocuments(**C, vector=V, top_k=3), {}
    yield SearchDocuments(**C, vector=V, top_k=3, filter={"$id": {"$ne": "q"}}), {}
    yield GetCollectionChanges(**C, include=ALL), {}
    yield GetUsage(tenant="t"), {}
    yield ExportTenant(tenant="t"), {"sink": Sink()}
    yield CreateBackup(), {"sink": Sink()}
    yield KEYED, {}
    yield UpsertDocuments(**C, documents=documents(1, prefix="new")), {}
    yield UpdateDocuments(**C, metadata={"a": 1}, ids=["x1"]), {}
    yield UpdateDocuments(**C, metadata={"a": 1}, filter={"$id": "x2"}), {}
    yield DeleteDocuments(**C, ids=["x2"]), {}
    yield DeleteDocuments(**C, filter={"$id": "x3"}), {}
    yield GetCollectionChanges(**C, include=ALL), {}
    yield SearchDocuments(**C, vector=V, top_k=3), {}
    yield MaintainStores(), {}


def use(operations: LocalOperations) -> list[str]:
    """What raises anything but an error that says what is wrong."""
    wrong = []
    for request, ends in requests():
        try:
            with keyed(idempotency_key="k" if request is KEYED else None):
                operations.perform(request, **ends)
        except Internal as error:
            wrong.append(f"{type(request).__name__}: {error!r}")
        except AkiDBError:
            pass
        except Exception as error:  # noqa: BLE001 - what must not come out
            wrong.append(f"{type(request).__name__}: {error!r}")
    return wrong


@pytest.mark.parametrize("usual", [True, pytest.param(False, marks=pytest.mark.slow)])
@pytest.mark.parametrize("table", tables())
def test_wrong_value_in_any_column_is_an_error_that_says_so(
    table: str, usual: bool, sound: Path, tmp_path: Path
) -> None:
    tried = 0
    for column, kind in columns(store_of(sound), table):
        for name, expression in OF_TYPE[kind].items():
            if (name in USUAL) != usual:
                continue
            directory = tmp_path / f"{column} {name}"
            shutil.copytree(sound, directory)
            if not put(store_of(directory), table, column, expression.format(c=column)):
                continue
            case = f"{table}.{column} {name}"
            with opened(directory) as operations:
                found = unsound(operations)
                assert found or f"{table}.{column}" in NOT_FOUND, case
                assert use(operations) == [], case
            with opened(directory) as operations:
                repairing = operations.repairing()
                repairing.carry_out(repairing.plan())
            with opened(directory) as operations:
                if not NOT_REPAIRED & {table, f"{table}.{column}"}:
                    assert unsound(operations) == [], case
            tried += 1
            shutil.rmtree(directory)
    assert tried


def test_damaged_deletion_is_named_and_can_be_discarded(sound: Path, tmp_path: Path) -> None:
    directory = tmp_path / "data"
    shutil.copytree(sound, directory)
    with opened(directory) as operations:
        before = operations.perform(GetCollectionChanges(**C))
        assert len([change for change in before.changes if change.type == "delete"]) == 2
    put(store_of(directory), "tombstones", "id", TEXTS["letter"].format(c="id"))
    with opened(directory) as operations:
        page = operations.perform(GetCollectionChanges(**C))
        assert [change.id for change in page.changes] == ["x0", "x1", "x2", "x3"]
        again: dict[str, Any] = {"feed": page.feed}
        with pytest.raises(Damaged, match="the deletion with sequence 7 of collection") as caught:
            operations.perform(GetCollectionChanges(**C, since=page.next_since, **again))
        rest = operations.perform(GetCollectionChanges(**C, since=caught.value.fields["next_since"], **again))
        assert rest.changes[0].id == "x5"
        assert len(operations.perform(SearchDocuments(**C, vector=V, top_k=9)).matches) == 5
        with pytest.raises(Damaged, match="the deletion with sequence 7"):
            operations.perform(ExportTenant(tenant="t"), sink=Sink())
        assert operations.perform(CreateBackup(), sink=Sink()).tenants_left_out_count == 1
        assert "the deletion with sequence 7" in str(unsound(operations))
    with opened(directory) as operations:
        [repair] = operations.repairing().plan()
        operations.repairing().carry_out([repair])
    with opened(directory) as operations:
        assert unsound(operations) == []
        page = operations.perform(GetCollectionChanges(**C))
        assert (len(page.changes), page.tombstone_floor) == (5, 9)
        assert operations.perform(CreateBackup(), sink=Sink()).is_complete


def test_search_that_meets_damaged_deletion_loads_again(tmp_path: Path) -> None:
    with opened(tmp_path) as operations:
        add_tenant(operations, "t", "c")
        operations.perform(UpsertDocuments(**C, documents=documents(5)))
        assert len(operations.perform(SearchDocuments(**C, vector=V, top_k=9)).matches) == 5
        operations.perform(DeleteDocuments(**C, ids=["x1"]))
        store: Any = operations._runtime.tenant_stores
        [entry] = store._entries.values()
        with entry.store._file.write() as connection:
            connection.exec_driver_sql("UPDATE tombstones SET id = 'x2'")
        found = operations.perform(SearchDocuments(**C, vector=V, top_k=9)).matches
        assert sorted(match.id for match in found) == ["x0", "x2", "x3", "x4"]


def test_damaged_answer_is_not_repeated(sound: Path, tmp_path: Path) -> None:
    directory = tmp_path / "data"
    shutil.copytree(sound, directory)
    put(
        store_of(directory),
        "remembered_answers",
        "answer",
        "CAST(substr(answer, 1, 5) || x'07' || substr(answer, 7) AS BLOB)",
    )
    with opened(directory) as operations, keyed(idempotency_key="k"):
        with pytest.raises(Damaged, match="stored response"):
            operations.perform(KEYED)
        assert operations.perform(CountDocuments(**C)) == 5


def test_damaged_deletion_on_postgresql_is_found_too(postgres_url: str) -> None:
    with closing(open_local(postgres_url, Settings())) as operations:
        add_tenant(operations, "t", "c")
        operations.perform(UpsertDocuments(**C, documents=documents(3)))
        operations.perform(DeleteDocuments(**C, ids=["x1"]))
        assert unsound(operations) == []
        database: Any = operations._runtime.tenant_stores._database  # type: ignore[attr-defined]
        with database.write() as connection:
            connection.exec_driver_sql("UPDATE tombstones SET id = 'x2'")
        assert "the deletion with sequence 4" in str(unsound(operations))
        with pytest.raises(Damaged, match="the deletion with sequence 4"):
            operations.perform(ExportTenant(tenant="t"), sink=Sink())
        assert operations.perform(CreateBackup(), sink=Sink()).tenants_left_out_count == 1


def test_checksums_of_older_rows_are_filled_in_by_repair(tmp_path: Path) -> None:
    with opened(tmp_path) as operations:
        add_tenant(operations, "t", "c")
        operations.perform(UpsertDocuments(**C, documents=[document(f"y{n}") for n in range(500)]))
    with closing(library.connect(store_of(tmp_path))) as connection:
        connection.execute(
            "UPDATE documents SET content_checksum = NULL, vector_checksum = NULL WHERE id > 'y2'"
        )
        connection.commit()
    with opened(tmp_path) as operations:
        [repair] = operations.repairing().plan()
        assert repair.kind == "fill_checksums"
        operations.repairing().carry_out([repair])
        assert operations.repairing().plan() == []
    with closing(library.connect(store_of(tmp_path))) as connection:
        connection.execute("UPDATE documents SET text = text || 'x' WHERE id = 'y7'")
        connection.commit()
    with opened(tmp_path) as operations:
        with pytest.raises(Damaged):
            operations.perform(GetDocuments(**C, ids=["y7"]))
        assert len(operations.perform(GetDocuments(**C, ids=["y8", "y9", "y1"]))) == 3
