"""Flipped bytes within rows: an error names the document without its content, and others are read."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fault_tools import add_tenant, at, opened, unsound

from akidb.deployment.local import METADATA_NAME, LocalOperations, open_local
from akidb.domain.documents import Include
from akidb.domain.errors import AkiDBError, Damaged
from akidb.operations.archives import CopyTenant, CreateBackup, ExportTenant
from akidb.operations.changes import GetCollectionChanges
from akidb.operations.collections import GetCollection
from akidb.operations.documents import (
    CountDocuments,
    DeleteDocuments,
    GetDocuments,
    ScanDocuments,
    SearchDocuments,
    UpdateDocuments,
    UpsertDocuments,
)
from akidb.operations.tenants import CreateTenant, GetTenant, ListTenants
from akidb.operations.users import CreateUser, GetUser, ListUsers
from akidb.settings import Settings
from akidb.sql.sqlite_library import library

HURT = "d2"
IDS = [f"d{n}" for n in range(5)]
SECRET = "what only d2 says"
C: dict[str, Any] = at("t")._asdict()
EVERYTHING = frozenset(Include)


def vector(number: int) -> list[float]:
    found = np.zeros(16)
    found[number] = 1 + number / 7
    return [float(value) for value in found]


def document(number: int) -> dict[str, Any]:
    text = SECRET if IDS[number] == HURT else f"text {number}"
    return {"id": IDS[number], "text": text, "vector": vector(number), "metadata": {"year": f"19{number:02}"}}


def flipped(path: Path, old: bytes, new: bytes) -> None:
    """Change bytes of a closed file, wherever they are."""
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


def in_text(path: Path) -> None:
    flipped(path, SECRET.encode(), SECRET.replace("only", "onlz").encode())


def in_encoding_of_text(path: Path) -> None:
    flipped(path, SECRET.encode(), SECRET.encode().replace(b"only", b"on\xffy"))


def in_metadata(path: Path) -> None:
    flipped(path, b'{"year":"1902"}', b'{"year":"1992"}')


def in_syntax_of_metadata(path: Path) -> None:
    flipped(path, b'{"year":"1902"}', b'{"year";"1902"}')


def in_vector(path: Path) -> None:
    raw = np.array([vector(2)[2]], "<f4").tobytes()
    flipped(path, raw, bytes([raw[0] ^ 4, *raw[1:]]))


PLACES = [in_text, in_encoding_of_text, in_metadata, in_syntax_of_metadata, in_vector]
Place = Callable[[Path], None]


@pytest.fixture(params=PLACES, ids=lambda place: place.__name__)
def place(request: pytest.FixtureRequest) -> Place:
    found: Place = request.param
    return found


@pytest.fixture
def hurt(tmp_path: Path, place: Place) -> Iterator[LocalOperations]:
    """A tenant with five documents, one of which is damaged."""
    with opened(tmp_path) as operations:
        add_tenant(operations, "t", "c")
        operations.perform(UpsertDocuments(**C, documents=[document(n) for n in range(5)]))
    [store] = (tmp_path / "tenants").glob("*.db")
    place(store)
    with opened(tmp_path) as operations:
        yield operations


def refusal(operations: LocalOperations, request: Any, **ends: Any) -> Damaged:
    with pytest.raises(Damaged) as caught:
        operations.perform(request, **ends)
    error = caught.value
    collection = operations.perform(GetCollection(**C))
    assert (error.document_id, error.fields["collection_id"]) == (HURT, str(collection.collection_id))
    assert HURT in error.message
    told = repr((error.message, error.fields, error.__cause__))
    assert not any(word in told for word in ("only", "onlz", "1902", "1992", "year"))
    return error


class _Sink:
    def write(self, data: bytes, /) -> int:
        return len(data)


def test_damaged_document_is_named_and_others_are_read(hurt: LocalOperations) -> None:
    perform = hurt.perform
    others = [id for id in IDS if id != HURT]
    refusal(hurt, GetDocuments(**C, ids=[HURT], include=EVERYTHING))
    refusal(hurt, GetDocuments(**C, ids=IDS, include=EVERYTHING))
    found = perform(GetDocuments(**C, ids=others, include=EVERYTHING))
    assert [each.id for each in found] == others
    page = perform(ScanDocuments(**C, include=EVERYTHING))
    assert [each.id for each in page.items] == ["d0", "d1"]
    error = refusal(hurt, ScanDocuments(**C, include=EVERYTHING, cursor=page.next_cursor))
    rest = perform(ScanDocuments(**C, include=EVERYTHING, cursor=error.fields["next_cursor"]))
    assert [each.id for each in rest.items] == ["d3", "d4"]
    changes = perform(GetCollectionChanges(**C, include=EVERYTHING))
    assert ([each.id for each in changes.changes], changes.more) == (["d0", "d1"], True)
    again: dict[str, Any] = {"feed": changes.feed, "include": EVERYTHING}
    error = refusal(hurt, GetCollectionChanges(**C, since=changes.next_since, **again))
    changes = perform(GetCollectionChanges(**C, since=error.fields["next_since"], **again))
    assert ([each.id for each in changes.changes], changes.more) == (["d3", "d4"], False)


def test_search_leaves_damaged_document_out_and_says_so(hurt: LocalOperations) -> None:
    for filter in (None, {"$id": {"$ne": "none"}}):
        for number in (2, 3):
            found = hurt.perform(SearchDocuments(**C, vector=vector(number), top_k=5, filter=filter))
            assert HURT not in {match.id for match in found.matches}
            assert found.statistics.damaged == 1
            assert len(found.matches) == 4
    hurt.perform(DeleteDocuments(**C, ids=[HURT]))
    found = hurt.perform(SearchDocuments(**C, vector=vector(2), top_k=5))
    assert (len(found.matches), found.statistics.damaged) == (4, 0)


def test_damaged_document_can_be_deleted_or_written_again(hurt: LocalOperations) -> None:
    assert [HURT in line for line in unsound(hurt)] == [True]
    hurt.perform(UpsertDocuments(**C, documents=[document(2)]))
    assert unsound(hurt) == []
    [found] = hurt.perform(GetDocuments(**C, ids=[HURT]))
    assert found.text == SECRET
    assert hurt.perform(SearchDocuments(**C, vector=vector(2), top_k=1)).statistics.damaged == 0


@pytest.mark.parametrize("place", [in_text, in_encoding_of_text, in_syntax_of_metadata], indirect=True)
def test_operations_that_need_damaged_content_are_refused(hurt: LocalOperations) -> None:
    some = {"year": {"$ne": "1800"}}
    for request in (
        CountDocuments(**C, filter=some),
        DeleteDocuments(**C, filter=some),
        UpdateDocuments(**C, metadata={"a": 1}, filter=some),
        UpdateDocuments(**C, metadata={"a": 1}, ids=[HURT]),
    ):
        refusal(hurt, request)
    assert hurt.perform(CountDocuments(**C)) == 5
    assert hurt.perform(DeleteDocuments(**C, ids=[HURT, "d3"])) == 2
    assert hurt.perform(UpdateDocuments(**C, metadata={"a": 1}, filter=some)) == 3


def test_damaged_document_is_not_exported_copied_or_backed_up(hurt: LocalOperations) -> None:
    assert hurt.perform(CreateBackup(), sink=_Sink()).tenants_left_out_count == 1
    refusal(hurt, ExportTenant(tenant="t"), sink=_Sink())
    refusal(hurt, CopyTenant(tenant="t", slug="copy"))
    hurt.perform(DeleteDocuments(**C, ids=[HURT]))
    assert hurt.perform(CreateBackup(), sink=_Sink()).is_complete
    hurt.perform(CopyTenant(tenant="t", slug="copy"))


def test_damaged_id_is_named_by_its_row(tmp_path: Path) -> None:
    with opened(tmp_path) as operations:
        add_tenant(operations, "t", "c")
        operations.perform(UpsertDocuments(**C, documents=[document(n) for n in range(5)]))
    [store] = (tmp_path / "tenants").glob("*.db")
    content = store.read_bytes()
    at_text = content.index(SECRET.encode())
    at_id = at_text - 4  # between them: the sequence and the size
    assert content[at_id : at_id + 2] == HURT.encode()
    for id in (b"\xff2", b"e2"):
        store.write_bytes(content[:at_id] + id + content[at_id + 2 :])
        with opened(tmp_path) as operations:
            [line] = unsound(operations)
            assert "row" in line or "missing from index" in line
            assert SECRET not in line
            found = operations.perform(SearchDocuments(**C, vector=vector(2), top_k=5))
            assert {match.id for match in found.matches} == {"d0", "d1", "d3", "d4"}
            assert found.statistics.damaged == 1


def test_damage_on_postgresql_is_found_too(postgres_url: str) -> None:
    with closing(open_local(postgres_url, Settings())) as operations:
        add_tenant(operations, "t", "c")
        operations.perform(UpsertDocuments(**C, documents=[document(n) for n in range(5)]))
        database: Any = operations._runtime.tenant_stores._database  # type: ignore[attr-defined]
        with database.write() as connection:
            connection.exec_driver_sql("UPDATE documents SET text = 'changed' WHERE id = 'd2'")
            connection.exec_driver_sql("UPDATE documents SET vector = set_bit(vector, 3, 1) WHERE id = 'd3'")
        refusal(operations, GetDocuments(**C, ids=IDS))
        assert [each.id for each in operations.perform(GetDocuments(**C, ids=["d3"]))] == ["d3"]
        with pytest.raises(Damaged):
            operations.perform(GetDocuments(**C, ids=["d3"], include=EVERYTHING))
        found = operations.perform(SearchDocuments(**C, vector=vector(2), top_k=5))
        assert ({match.id for match in found.matches}, found.statistics.damaged) == ({"d0", "d1", "d4"}, 2)
        [line] = unsound(operations)
        assert "'d2'" in line
        assert "'d3'" in line
        operations.perform(UpdateDocuments(**C, metadata={"a": 1}, ids=["d0", "d1"]))
        assert len(operations.perform(GetDocuments(**C, ids=["d0", "d1"]))) == 2


def test_row_without_checksum_is_read_unless_its_text_cannot_be(tmp_path: Path) -> None:
    """As written by an older version."""
    with opened(tmp_path) as operations:
        add_tenant(operations, "t", "c")
        operations.perform(UpsertDocuments(**C, documents=[document(n) for n in range(5)]))
    [store] = (tmp_path / "tenants").glob("*.db")
    with closing(library.connect(store)) as connection:
        connection.execute("UPDATE documents SET content_checksum = NULL, vector_checksum = NULL")
        connection.commit()
    in_text(store)
    with opened(tmp_path) as operations:
        assert len(operations.perform(GetDocuments(**C, ids=IDS, include=EVERYTHING))) == 5
        assert unsound(operations) == []
    flipped(store, b"what onlz", b"what on\xffy")
    with opened(tmp_path) as operations:
        refusal(operations, GetDocuments(**C, ids=[HURT]))
        assert [HURT in line for line in unsound(operations)] == [True]


@pytest.mark.parametrize("wrong", [b"sekr\xfft name", b"secret-name"])
def test_damaged_metadata_are_found_without_their_content(tmp_path: Path, wrong: bytes) -> None:
    with opened(tmp_path) as operations:
        for name in ("first", "secret name", "third"):
            operations.perform(CreateTenant(name=name, slug=name.replace(" ", ""), metadata={"k": "of x"}))
        operations.perform(CreateUser(tenant="first", email="private@x", password="correct horse"))
    metadata = tmp_path / METADATA_NAME
    flipped(metadata, b"secret name", wrong)
    flipped(metadata, b"private@x", b"priv\xffte@x")
    with opened(tmp_path) as operations:
        listed = operations.perform(ListTenants()).items
        assert {"first", "third"} <= {tenant.slug for tenant in listed}
        assert operations.perform(ListUsers(tenant="first")).items == []
        errors: list[AkiDBError] = []
        for request in (GetTenant(tenant="secretname"), GetUser(tenant="first", user="private@x")):
            try:
                operations.perform(request)
            except AkiDBError as error:
                errors.append(error)
        told = repr([(error.message, error.fields) for error in errors]) + repr(unsound(operations))
        assert "sekr" not in told
        assert "priv" not in told.replace("private@x", "")
        assert unsound(operations)
