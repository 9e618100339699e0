"""Read-only directories and files: a clear error, and nothing changed."""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fault_tools import add_tenant, at, disagreements, document, failure, opened, unsound

from akidb.deployment.local import METADATA_NAME, TENANTS_NAME
from akidb.domain.errors import Unavailable
from akidb.operations.documents import CountDocuments, UpsertDocuments
from akidb.operations.tenants import CreateTenant, DeleteTenant, GetTenant, PurgeTenant, RestoreTenant

NOBODY = 65534
REASON = "Permission denied|read-only|cannot be opened"


@pytest.fixture
def directory() -> Iterator[Path]:
    """A data directory at a place that everybody can reach, which the temporary ones of pytest are not."""
    place = Path(tempfile.mkdtemp(dir="/tmp", prefix="akidb-read-only-"))
    try:
        with opened(place / "data") as operations:
            for slug in ("one", "two"):
                add_tenant(operations, slug, "c")
                operations.perform(UpsertDocuments(**at(slug)._asdict(), documents=[document("x")]))
            add_tenant(operations, "new", "c")
        place.chmod(0o755)
        if os.geteuid() == 0:
            for path in (place, *place.rglob("*")):
                os.chown(path, NOBODY, NOBODY)
        yield place / "data"
    finally:
        for path in (place, *place.rglob("*")):
            path.chmod(0o700)
        shutil.rmtree(place)


@contextmanager
def without_privileges() -> Iterator[None]:
    """As a user whom permissions bind, unlike root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def _forbid_writing(*paths: Path) -> None:
    for path in paths:
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))


def test_read_only_directory_is_not_opened(directory: Path) -> None:
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    _forbid_writing(*directory.rglob("*"), directory)
    with without_privileges(), pytest.raises(Unavailable, match=REASON) as raised, opened(directory):
        pass
    assert str(directory) in raised.value.message
    assert {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()} == before


def test_directory_is_not_created_in_read_only_parent(directory: Path) -> None:
    _forbid_writing(directory.parent)
    with without_privileges(), pytest.raises(Unavailable, match=REASON), opened(directory.parent / "other"):
        pass


def test_read_only_metadata_rejects_changes(directory: Path) -> None:
    _forbid_writing(directory / METADATA_NAME)
    with (
        without_privileges(),
        pytest.raises(Unavailable, match=REASON) as raised,
        opened(directory) as operations,
    ):
        operations.perform(CreateTenant(name="other"))
    assert METADATA_NAME in raised.value.message


def test_read_only_store_affects_only_its_tenant(directory: Path) -> None:
    with without_privileges(), opened(directory) as operations:
        tenant_id = operations.perform(GetTenant(tenant="one")).tenant_id
    store = directory / TENANTS_NAME / f"{tenant_id}.db"
    _forbid_writing(store)
    with without_privileges(), opened(directory) as operations:
        with pytest.raises(Unavailable, match=REASON) as raised:
            operations.perform(UpsertDocuments(**at("one")._asdict(), documents=[document("y")]))
        assert store.name in raised.value.message
        operations.perform(UpsertDocuments(**at("two")._asdict(), documents=[document("y")]))
        for path in store.parent.glob(f"{store.name}*"):  # SQLite gives its log the file's permissions
            path.chmod(0o600)
        operations.perform(UpsertDocuments(**at("one")._asdict(), documents=[document("y")]))
        assert unsound(operations) == []
    assert disagreements(directory) == []


def test_stores_are_not_created_in_read_only_directory(directory: Path) -> None:
    tenants = directory / TENANTS_NAME
    with without_privileges(), opened(directory) as operations:
        _forbid_writing(tenants)
        with pytest.raises(Unavailable, match=REASON):
            operations.perform(UpsertDocuments(**at("new")._asdict(), documents=[document("x")]))
        assert operations.perform(CountDocuments(**at("new")._asdict())) == 0
        tenants.chmod(0o700)
        operations.perform(UpsertDocuments(**at("new")._asdict(), documents=[document("x")]))
        assert unsound(operations) == []
    assert disagreements(directory) == []


def test_store_that_cannot_be_removed_is_removed_later(directory: Path) -> None:
    tenants = directory / TENANTS_NAME
    with without_privileges(), opened(directory) as operations:
        operations.perform(DeleteTenant(tenant="one"))
        operations.perform(UpsertDocuments(**at("two")._asdict(), documents=[document("y")]))
        _forbid_writing(tenants)
        with pytest.raises(Unavailable, match=REASON):
            operations.perform(PurgeTenant(tenant="one"))
        assert failure(operations.perform, RestoreTenant(tenant="one")) == "NotFound"
        operations.perform(UpsertDocuments(**at("two")._asdict(), documents=[document("z")]))
        tenants.chmod(0o700)
    with without_privileges(), opened(directory) as operations:
        assert unsound(operations) == []
    assert disagreements(directory) == []
