"""Full disk: a clear error, no partial writes, and recovery when space is available again."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fault_tools import add_tenant, at, disagreements, documents, failure, unsound
from fault_tools import opened as opened_with
from small_disks import Fill, limited_files, limited_pages, small_file_system

from akidb.deployment.local import LocalOperations
from akidb.domain.errors import Unavailable
from akidb.operations.audit import ListAuditEntries
from akidb.operations.documents import CountDocuments, GetDocuments, UpsertDocuments
from akidb.operations.tenants import (
    CreateTenant,
    DeleteTenant,
    GetTenant,
    GetUsage,
    ListTenants,
    PurgeTenant,
    SuspendTenant,
    UpdateTenant,
)

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

pytestmark = pytest.mark.usefixtures("made_metadata")
Disk = tuple[Path, Fill]
FULL = frozenset({"Unavailable", "StorageFull", "MachineFailure"})
"""SQLite does not always know that the disk is full."""
REASON = re.compile(
    r"there is no space left on the disk|it may be full|No space left on device|File too large"
)
MAKERS = [limited_files, limited_pages, pytest.param(small_file_system, marks=pytest.mark.own_disk)]


@pytest.fixture(params=MAKERS, ids=lambda maker: maker.__name__)
def disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    maker: Callable[[Path], AbstractContextManager[Disk]] = request.param
    with maker(tmp_path) as made:
        yield made


@contextmanager
def opened(directory: Path) -> Iterator[LocalOperations]:
    """Open a directory on a disk that is smaller than the usual reserve."""
    with opened_with(directory, disk_reserve_bytes=0) as operations:
        yield operations


def _until_full(write: Callable[[int], object]) -> int:
    """Write until it is refused, for the right reason; gives how many writes were not."""
    written = 0
    while (reason := _refusal(write, written)) is None:
        written += 1
    assert REASON.search(reason), reason
    return written


def _refusal(write: Callable[[int], object], number: int) -> str | None:
    try:
        write(number)
    except Unavailable as error:
        return error.message
    return None


def test_document_batches_are_rejected_whole_until_space_is_free(disk: Disk) -> None:
    directory, fill = disk
    with opened(directory) as operations:
        add_tenant(operations, "t", "c")
        operations.perform(UpsertDocuments(**at("t")._asdict(), documents=documents(7, prefix="first")))
        fill(True)
        written = _until_full(
            lambda n: operations.perform(
                UpsertDocuments(**at("t")._asdict(), documents=documents(50, prefix=f"{n}-"))
            )
        )
        much = UpsertDocuments(**at("t")._asdict(), documents=documents(5000, prefix="much-"))
        assert failure(operations.perform, much) in FULL
        assert operations.perform(CountDocuments(**at("t")._asdict())) == 7 + 50 * written
        assert (
            len(
                operations.perform(
                    GetDocuments(**at("t")._asdict(), ids=["first0", f"{written}-0", f"{written}-49"])
                )
            )
            == 1
        )
        fill(False)
        operations.perform(
            UpsertDocuments(**at("t")._asdict(), documents=documents(50, prefix=f"{written}-"))
        )
        assert operations.perform(CountDocuments(**at("t")._asdict())) == 7 + 50 * (written + 1)
        assert unsound(operations) == []
    assert disagreements(directory) == []


def test_metadata_changes_are_rejected_whole_until_space_is_free(disk: Disk) -> None:
    directory, fill = disk
    with opened(directory) as operations:
        add_tenant(operations, "t", "c")
        operations.perform(UpsertDocuments(**at("t")._asdict(), documents=documents(1)))
        fill(True)
        made = _until_full(
            lambda n: operations.perform(CreateTenant(name=f"T{n}", metadata={"fill": "x" * 2000}))
        )
        while failure(_rename, operations) is None:
            pass
        assert len(operations.perform(ListTenants(limit=1000)).items) == 1 + made
        assert (
            len(operations.perform(ListAuditEntries(tenant="t", limit=1000)).items)
            == operations.perform(GetTenant(tenant="t")).version + 2
        )
        suspended = failure(operations.perform, SuspendTenant(tenant="t")) is None
        fill(False)
        assert operations.perform(GetTenant(tenant="t")).status == ("suspended" if suspended else "active")
        operations.perform(CreateTenant(name=f"T{made}"))
        operations.perform(SuspendTenant(tenant="t"))
        one = UpsertDocuments(**at("t")._asdict(), documents=documents(1))
        assert failure(operations.perform, one) == "InvalidState"
        assert unsound(operations) == []
    assert disagreements(directory) == []


def _rename(operations: LocalOperations) -> None:
    version = operations.perform(GetTenant(tenant="t")).version
    operations.perform(UpdateTenant(tenant="t", metadata={"version": version, "fill": "x" * 2000}))


def test_first_document_of_tenant_is_rejected_until_space_is_free(disk: Disk) -> None:
    directory, fill = disk
    with opened(directory) as operations:
        add_tenant(operations, "t", "c")
        fill(True)
        with pytest.raises(Unavailable, match=REASON):
            operations.perform(UpsertDocuments(**at("t")._asdict(), documents=documents(3000)))
        assert failure(operations.perform, CountDocuments(**at("t")._asdict())) is None
        fill(False)
        assert operations.perform(CountDocuments(**at("t")._asdict())) == 0
        operations.perform(UpsertDocuments(**at("t")._asdict(), documents=documents(3)))
        assert operations.perform(GetUsage(tenant="t")).documents == 3
        assert unsound(operations) == []
    assert disagreements(directory) == []


def test_process_exit_on_full_disk_loses_nothing(disk: Disk) -> None:
    directory, fill = disk
    with opened(directory) as operations:
        add_tenant(operations, "t", "c")
        fill(True)
        written = _until_full(
            lambda n: operations.perform(
                UpsertDocuments(**at("t")._asdict(), documents=documents(20, prefix=f"{n}-"))
            )
        )
    fill(False)
    with opened(directory) as operations:
        assert operations.perform(CountDocuments(**at("t")._asdict())) == 20 * written
        assert unsound(operations) == []
    assert disagreements(directory) == []


def test_tenant_can_be_purged_on_full_disk(disk: Disk) -> None:
    directory, fill = disk
    with opened(directory) as operations:
        add_tenant(operations, "t", "c")
        operations.perform(UpsertDocuments(**at("t")._asdict(), documents=documents(1)))
        operations.perform(DeleteTenant(tenant="t"))
        fill(True)
        _until_full(lambda n: operations.perform(CreateTenant(name=f"T{n}", metadata={"fill": "x" * 2000})))
        purged = failure(operations.perform, PurgeTenant(tenant="t"))
        fill(False)
        if purged is not None:
            operations.perform(PurgeTenant(tenant="t"))
        assert unsound(operations) == []
    assert disagreements(directory) == []


def test_directory_cannot_be_created_on_full_disk(disk: Disk) -> None:
    directory, fill = disk
    fill(True)
    directory = directory / "new"
    refused = failure(_open, directory)
    fill(False)
    assert refused in {None, *FULL}
    assert failure(_open, directory) is None  # the lock of the failed attempt is gone, too


def _open(directory: Path) -> None:
    with opened(directory) as operations:
        operations.perform(ListTenants())
