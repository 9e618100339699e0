"""A lost write-ahead log of a store: an error that names the tenant, never 404 or an empty result."""

import shutil
from pathlib import Path

import pytest
from fault_tools import add_tenant, at, disagreements, documents, failure, opened, unsound

from akidb.deployment.local import LocalOperations
from akidb.domain.errors import Unavailable
from akidb.operations.collections import CreateCollection
from akidb.operations.documents import (
    CountDocuments,
    GetDocuments,
    ScanDocuments,
    SearchDocuments,
    UpsertDocuments,
)
from akidb.operations.tenants import GetTenant, GetUsage, SuspendTenant
from akidb.operations.upkeep import MaintainStores

ONE, TWO = at("one")._asdict(), at("two")._asdict()


def killed(directory: Path, copy: Path) -> Path:
    """The files of an open directory, as a process that is killed leaves them."""
    shutil.copytree(directory, copy, ignore=shutil.ignore_patterns("*-shm", "owner.lock"))
    return copy


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Two tenants with documents in their logs, after a kill."""
    with opened(tmp_path / "open") as operations:
        for slug in ("one", "two"):
            add_tenant(operations, slug, "c")
            operations.perform(UpsertDocuments(**at(slug)._asdict(), documents=documents(20)))
        killed(tmp_path / "open", tmp_path / "data")
    return tmp_path / "data"


def log_of(directory: Path, slug: str) -> Path:
    with opened(directory.parent / "open") as operations:
        return directory / "tenants" / f"{operations.perform(GetTenant(tenant=slug)).tenant_id}.db-wal"


def reads(operations: LocalOperations) -> list[str | None]:
    return [
        failure(operations.perform, request)
        for request in (
            GetDocuments(**ONE, ids=["x1"]),
            ScanDocuments(**ONE),
            CountDocuments(**ONE),
            SearchDocuments(**ONE, vector=[1.0] * 16, top_k=3),
            UpsertDocuments(**ONE, documents=documents(1)),
            GetUsage(tenant="one"),
        )
    ]


def test_store_with_lost_log_is_unavailable_until_it_is_put_back(directory: Path, tmp_path: Path) -> None:
    log = log_of(directory, "one")
    kept = log.rename(tmp_path / "kept")
    with opened(killed(directory, tmp_path / "lost")) as operations:
        assert set(reads(operations)) == {"Unavailable"}
        with pytest.raises(Unavailable, match=log.name.removesuffix(".db-wal")):
            operations.perform(GetUsage(tenant="one"))
        [line] = unsound(operations)
        assert line.startswith(log.name.removesuffix(".db-wal"))
        assert "log (-wal) is missing" in line
        assert operations.perform(CountDocuments(**TWO)) == 20
    kept.rename(log)
    with opened(directory) as operations:
        assert set(reads(operations)) == {None}
        assert operations.perform(CountDocuments(**ONE)) == 20
        assert unsound(operations) == []
    assert disagreements(directory) == []


def test_store_with_lost_log_can_be_given_up_by_repair(directory: Path) -> None:
    log_of(directory, "one").unlink()
    with opened(directory) as operations:
        repairing = operations.repairing()
        [repair] = repairing.plan()
        assert repair.kind == "adopt"
        assert "it holds 0 documents" in repair.problem
        repairing.carry_out([repair])
    with opened(directory) as operations:
        assert operations.repairing().plan() == []
        assert operations.perform(CountDocuments(**ONE)) == 0
        assert set(reads(operations)) == {None}
        assert unsound(operations) == []
    assert disagreements(directory) == []


@pytest.mark.parametrize("change", ["suspended", "collection"])
def test_older_file_of_store_is_refused(tmp_path: Path, change: str) -> None:
    directory = tmp_path / "data"
    with opened(directory) as operations:
        add_tenant(operations, "one", "c")
        operations.perform(UpsertDocuments(**ONE, documents=documents(20)))
    [store] = (directory / "tenants").glob("*.db")
    shutil.copy(store, tmp_path / "older")
    with opened(directory) as operations:
        if change == "suspended":
            operations.perform(SuspendTenant(tenant="one"))
        else:
            operations.perform(CreateCollection(tenant="one", database="d", name="new", dimension=16))
    shutil.copy(tmp_path / "older", store)
    with opened(directory) as operations:
        assert failure(operations.perform, GetUsage(tenant="one")) == "Unavailable"
        assert len(unsound(operations)) == 1
        operations.repairing().carry_out(operations.repairing().plan())
        assert operations.perform(GetUsage(tenant="one")).documents == 20
        assert unsound(operations) == []
    assert disagreements(directory) == []


def test_log_of_idle_store_is_empty_and_losing_it_loses_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "open"
    with opened(directory) as operations:
        add_tenant(operations, "one", "c")
        operations.perform(UpsertDocuments(**ONE, documents=documents(20)))
        logs = [directory / "metadata.db-wal", *(directory / "tenants").glob("*.db-wal")]
        operations.perform(MaintainStores())
        assert all(log.stat().st_size for log in logs)  # they were in use until now
        operations.perform(MaintainStores())
        assert [log.stat().st_size for log in logs] == [0, 0]
        copy = killed(directory, tmp_path / "data")
        operations.perform(UpsertDocuments(**ONE, documents=documents(1, prefix="more")))
        operations.perform(MaintainStores())
        assert logs[1].stat().st_size
    for log in copy.rglob("*-wal"):
        log.unlink()
    with opened(copy) as operations:
        assert operations.perform(CountDocuments(**ONE)) == 20
        assert unsound(operations) == []
    assert disagreements(copy) == []


def test_log_that_is_read_is_left_for_the_next_round(tmp_path: Path) -> None:
    with opened(tmp_path) as operations:
        add_tenant(operations, "one", "c")
        operations.perform(UpsertDocuments(**ONE, documents=documents(20)))
        [log] = (tmp_path / "tenants").glob("*.db-wal")
        tenant_id = operations.perform(GetTenant(tenant="one")).tenant_id
        operations.perform(MaintainStores())
        with (
            operations._runtime.stores.existing(tenant_id) as store,
            store.read(store.controls()[0].collection_id) as reader,  # type: ignore[union-attr]
        ):
            assert reader.count(None) == 20
            assert operations.perform(MaintainStores()).problems == []
            assert log.stat().st_size
        operations.perform(MaintainStores())
        assert log.stat().st_size == 0
