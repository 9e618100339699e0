"""Errors of a file that an archive is written to or read from name the file, not a store."""

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import akidb
from akidb.domain.errors import InvalidArgument, StorageFull, Unavailable


@pytest.fixture
def db(tmp_path: Path) -> Iterator[akidb.Client]:
    with akidb.connect(tmp_path / "data") as client:
        yield client


@pytest.fixture
def tenant(db: akidb.Client) -> akidb.TenantHandle:
    tenant = db.tenants.create("Aki Labs")
    tenant.databases.create("kb").collections.create("points", dimension=16).upsert(
        [{"id": str(n), "vector": [1.0] * 16, "text": os.urandom(5_000).hex()} for n in range(50)]
    )
    return tenant


class Failing:
    """A file of another program, such as a bucket."""

    name = "s3://archives/aki-labs"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def write(self, data: bytes) -> int:
        raise self.error

    def read(self, size: int) -> bytes:
        raise self.error


def test_full_target_is_named(db: akidb.Client, tenant: akidb.TenantHandle) -> None:
    with open("/dev/full", "wb", buffering=0) as full:  # noqa: PTH123 - unbuffered
        for write in (tenant.export, db.backup):
            with pytest.raises(Unavailable, match="/dev/full cannot be written: No space left") as raised:
                write(full)
            assert not isinstance(raised.value, StorageFull)
    assert tenant.usage().documents == 50


def test_closed_pipe_and_foreign_objects_are_named(db: akidb.Client, tenant: akidb.TenantHandle) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with (
        os.fdopen(writing, "wb", buffering=0) as pipe,
        pytest.raises(Unavailable, match=r"file descriptor \d+ cannot be written: Broken pipe"),
    ):
        tenant.export(pipe)
    failing = Failing(OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)))
    with pytest.raises(Unavailable, match="s3://archives/aki-labs cannot be written: Disk quota"):
        db.backup(failing)
    with pytest.raises(Unavailable, match="s3://archives/aki-labs cannot be read: Disk quota"):
        db.tenants.import_(failing)
    with pytest.raises(ZeroDivisionError):  # of the caller's own code
        tenant.export(Failing(ZeroDivisionError()))


def test_text_and_closed_files_are_invalid(db: akidb.Client, tenant: akidb.TenantHandle) -> None:
    closed = io.BytesIO()
    closed.close()
    for perform in (tenant.export, db.tenants.import_):
        with pytest.raises(InvalidArgument, match=r"^file: the given file is closed"):
            perform(closed)
    with pytest.raises(InvalidArgument, match=r"^file: the given file takes text, not bytes"):
        tenant.export(io.StringIO())  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match=r"^file: the given file must give bytes, not text"):
        db.tenants.import_(io.StringIO("AkiDB"))  # type: ignore[arg-type]


def test_path_that_cannot_be_written_is_named(tenant: akidb.TenantHandle, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=rf"^file: cannot write {tmp_path}/none/a: No such file"):
        tenant.export(tmp_path / "none" / "a")
    with pytest.raises(InvalidArgument, match="/dev/full is not a regular file"):
        tenant.export("/dev/full", overwrite=True)
