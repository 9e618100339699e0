"""Handles on a directory: behaviour beyond delegating calls. `conformance` covers the rest."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import akidb

VECTOR = [1.0] * 16


@pytest.fixture
def db(tmp_path: Path) -> Iterator[akidb.Client]:
    with akidb.connect(tmp_path / "data", models_dir=str(tmp_path / "models")) as client:
        yield client


@pytest.fixture
def kb(db: akidb.Client) -> akidb.DatabaseHandle:
    return db.tenants.create("Aki Labs").databases.create("kb")


def test_handle_survives_rename(kb: akidb.DatabaseHandle) -> None:
    notes = kb.collections.create("notes", dimension=16)
    kb.update(name="renamed")
    changed = kb.collections.update("notes", name="pages", max_document_count=7, if_version=1)
    notes.upsert([{"id": "a", "vector": VECTOR}])
    assert (notes.name, changed.name, changed.count()) == ("notes", "pages", 1)
    notes.refresh()
    assert (notes.name, notes.version, notes.max_document_count) == ("pages", 2, 7)


def test_single_document_methods_refuse_several_ids(kb: akidb.DatabaseHandle) -> None:
    notes = kb.collections.create("notes", dimension=16)
    for wrong in (["a"], ("a",), 3, None):
        for method in (notes.get, notes.find, notes.exists):
            with pytest.raises(akidb.InvalidArgument, match=r"^id: must be the id of one .*; get_many"):
                method(wrong)  # type: ignore[arg-type]


def test_handle_exposes_every_field_of_its_entity(db: akidb.Client, kb: akidb.DatabaseHandle) -> None:
    tenant = db.tenants.get(kb.tenant_id)
    notes = kb.collections.create("notes", dimension=16)
    for handle, own in ((tenant, "tenant_id"), (kb, "database_id"), (notes, "collection_id")):
        names = set(handle.entity.__struct_fields__) - {own, "placement", "embedding_fingerprint"}
        assert {name: getattr(handle, name) for name in names} == {
            name: getattr(handle.entity, name) for name in names
        }
        assert handle.id == getattr(handle.entity, own)
        assert str(handle.id) in repr(handle)


def test_lists_read_all_pages(db: akidb.Client) -> None:
    slugs = [db.tenants.create(f"T{n:03}", status=akidb.TenantStatus.PROVISIONING).slug for n in range(105)]
    assert [tenant.slug for tenant in db.tenants] == slugs
    assert db.tenants.count() == 105
    page = db.tenants.list(limit=100)
    assert page.next_cursor is not None
    assert [t.slug for t in db.tenants.list(cursor=page.next_cursor)] == slugs[100:]


def test_scan_reads_all_pages(kb: akidb.DatabaseHandle) -> None:
    notes = kb.collections.create("notes", dimension=16)
    ids = [f"d{n:04}" for n in range(250)]
    notes.upsert([{"id": id, "vector": VECTOR, "metadata": {"odd": int(id[1:]) % 2}} for id in ids])
    assert [document.id for document in notes.scan_all()] == ids
    odd = list(notes.scan_all(filter={"odd": 1}, include=["metadata"]))
    assert [document.id for document in odd] == ids[1::2]
    assert odd[0].metadata == {"odd": 1}
    assert odd[0].text is None


def test_find_returns_none_only_for_missing_entity_not_missing_parent(kb: akidb.DatabaseHandle) -> None:
    assert kb.collections.find("notes") is None
    kb.delete()
    with pytest.raises(akidb.NotFound) as caught:
        kb.collections.find("notes")
    assert caught.value.fields["entity"] == "database"


def test_concurrent_get_or_create_returns_one_entity(db: akidb.Client) -> None:
    found: list[tuple[object, ...]] = []
    barrier = threading.Barrier(8)

    def make() -> None:
        barrier.wait()
        tenant = db.tenants.get_or_create("Aki Labs")
        database = tenant.databases.get_or_create("kb")
        found.append((tenant.id, database.id, database.collections.get_or_create("notes", dimension=16).id))

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1


def test_get_or_create_does_not_restore_deleted_entity(db: akidb.Client, kb: akidb.DatabaseHandle) -> None:
    kb.collections.create("notes", dimension=16)
    kb.collections.delete("notes")
    with pytest.raises(akidb.AlreadyExists):
        kb.collections.get_or_create("notes", dimension=16)
    kb.delete()
    tenant = db.tenants.get("aki-labs")
    with pytest.raises(akidb.AlreadyExists):
        tenant.databases.get_or_create("kb")
    tenant.delete()
    with pytest.raises(akidb.AlreadyExists):
        db.tenants.get_or_create("Aki Labs")


def test_get_or_create_rejects_blank_name(db: akidb.Client) -> None:
    db.tenants.create("Tenant", slug="tenant")
    with pytest.raises(akidb.InvalidArgument) as caught:
        db.tenants.get_or_create("")
    assert caught.value.field == "name"


def test_get_or_create_rejects_collection_with_different_options(kb: akidb.DatabaseHandle) -> None:
    kb.collections.create("notes", embedding_model="hash")
    same = kb.collections.get_or_create("notes", embedding_model="hash", metric=akidb.Metric.COSINE)
    assert same.embedding_model == "hash"
    for options in ({"dimension": 17}, {"metric": akidb.Metric.DOT}, {"embedding_model": "other"}):
        with pytest.raises(akidb.AlreadyExists) as caught:
            kb.collections.get_or_create("notes", **options)
        assert caught.value.fields["field"] in options


def test_unknown_field_raises_type_error(kb: akidb.DatabaseHandle) -> None:
    with pytest.raises(TypeError, match="nmae"):
        kb.update(nmae="x")  # type: ignore[call-arg]


def test_two_connections_in_one_process_share_directory(tmp_path: Path) -> None:
    with akidb.connect(tmp_path / "data") as one, akidb.connect(f"sqlite:///{tmp_path}/data") as two:
        one.tenants.create("Aki Labs")
        one.close()
        one.close()
        assert two.tenants.exists("aki-labs")


def test_directory_in_use_error_names_process(tmp_path: Path) -> None:
    program = (
        "import sys, akidb\nwith akidb.connect(sys.argv[1]):\n    print('open', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "data")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "open\n"
        with pytest.raises(akidb.Unavailable, match=f"in use by process {other.pid}.*akidb serve"):
            akidb.connect(tmp_path / "data", open_wait_seconds=0)
        other.stdin.close()
        assert other.wait(30) == 0
    akidb.connect(tmp_path / "data").close()


def test_uncreatable_directory_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(akidb.Unavailable, match=re.escape(os.fspath(tmp_path))):
        akidb.connect(tmp_path / "file" / "data")


@pytest.mark.parametrize("nothing", [None, "", " ", 5])
def test_find_external_finds_nobody_without_an_id(db: akidb.Client, nothing: Any) -> None:
    db.tenants.create("Somebody", external_id="crm-1")
    db.tenants.create("Nobody")
    if isinstance(nothing, str):
        assert db.tenants.find_external(nothing) is None
        return
    with pytest.raises(akidb.InvalidArgument, match="external_id"):
        db.tenants.find_external(nothing)
