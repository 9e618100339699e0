"""`delete(..., purge=True)`: what a notebook that deletes and creates again needs."""

from pathlib import Path
from typing import Any

import pytest

import akidb

VECTOR = [1.0] * 16


@pytest.mark.parametrize("by_handle", [True, False])
def test_name_is_free_after_delete_with_purge(tmp_path: Path, by_handle: bool) -> None:
    with akidb.connect(tmp_path / "data") as db:
        for number in range(2):
            tenant = db.tenants.create("Aki", external_id="crm-1")
            for _ in range(2):
                database = tenant.databases.create("kb")
                for _ in range(2):
                    notes = database.collections.create("notes", dimension=16)
                    notes.upsert([{"id": f"n{number}", "vector": VECTOR}])
                    database.collections.delete("notes", purge=True)
                    assert not database.collections.exists("notes")
                    assert not database.collections.list(deleted=True)
                database.delete(purge=True) if by_handle else tenant.databases.delete("kb", purge=True)
                assert not tenant.databases.list(deleted=True)
            tenant.delete(purge=True) if by_handle else db.tenants.delete("aki", purge=True)
            assert db.tenants.count(deleted=True) == 0


def test_wrong_version_neither_deletes_nor_purges(tmp_path: Path) -> None:
    with akidb.connect(tmp_path / "data") as db:
        tenant = db.tenants.create("Aki")
        database = tenant.databases.create("kb")
        database.collections.create("notes", dimension=16)
        deletes: list[Any] = [
            lambda: database.collections.delete("notes", purge=True, if_version=9),
            lambda: database.delete(purge=True, if_version=9),
            lambda: tenant.delete(purge=True, if_version=9),
        ]
        for delete in deletes:
            with pytest.raises(akidb.PreconditionFailed):
                delete()
        assert "notes" in db.tenants.get("aki").databases.get("kb").collections
