"""Files and directories that are removed, moved or replaced while open: no lost write is acknowledged."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fault_tools import add_tenant, at, disagreements, document, opened, unsound

from akidb.deployment.local import METADATA_NAME, TENANTS_NAME, LocalOperations, open_local
from akidb.deployment.note import LOCK_NAME
from akidb.deployment.owner import DirectoryHeld, OwnerLock
from akidb.domain.errors import Unavailable
from akidb.operations.documents import CountDocuments, UpsertDocuments
from akidb.operations.tenants import CreateTenant, ListTenants
from akidb.operations.upkeep import MaintainStores
from akidb.settings import Settings
from children import exit_code


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory below one in which it can be renamed."""
    return tmp_path / "data"


def write(operations: LocalOperations, *ids: str) -> None:
    wanted = [document(id) for id in ids]
    operations.perform(UpsertDocuments(**at("t")._asdict(), documents=wanted))


def count(operations: LocalOperations) -> int:
    return operations.perform(CountDocuments(**at("t")._asdict()))


def store_of(directory: Path) -> Path:
    [path] = (directory / TENANTS_NAME).glob("*.db")
    return path


def replace(path: Path) -> None:
    """Put a copy in the place of a file, as an editor or `cp` and `mv` do."""
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    copy.rename(path)


def link_instead(path: Path) -> None:
    """Move a file elsewhere, and leave a link to it."""
    elsewhere = path.parent.parent / f"moved-{path.name}"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def rename(path: Path) -> None:
    path.rename(path.with_name("renamed"))


def replace_directory(path: Path) -> None:
    rename(path)
    shutil.copytree(path.with_name("renamed"), path)


def link_directory(path: Path) -> None:
    """A directory of the same files: each has two names for a moment, and then one again."""
    rename(path)
    shutil.copytree(path.with_name("renamed"), path, copy_function=os.link)
    shutil.rmtree(path.with_name("renamed"))


OF_DIRECTORY: dict[str, Callable[[Path], object]] = {
    "removed": shutil.rmtree,
    "renamed": rename,
    "replaced": replace_directory,
    "replaced by links": link_directory,
}
OF_FILE: dict[str, Callable[[Path], object]] = {
    "removed": Path.unlink,
    "renamed": rename,
    "replaced": replace,
    "linked": lambda path: os.link(path, path.parent.parent / "second"),
    "moved and linked": link_instead,
}


@pytest.mark.parametrize("done", OF_DIRECTORY)
def test_write_into_displaced_directory_is_refused(done: str, directory: Path) -> None:
    with opened(directory) as operations:
        add_tenant(operations, "t", "c")
        write(operations, "a")
        OF_DIRECTORY[done](directory)
        with pytest.raises(Unavailable, match="the data directory was"):
            write(operations, "b")
        with pytest.raises(Unavailable, match="the data directory was"):
            operations.perform(CreateTenant(name="U"))
        assert "the data directory was" in str(unsound(operations))
        assert "the data directory was" in str(operations.perform(MaintainStores()).problems)


@pytest.mark.parametrize("done", OF_FILE)
def test_write_into_displaced_store_is_refused(done: str, directory: Path) -> None:
    with opened(directory) as operations:
        add_tenant(operations, "t", "c")
        write(operations, "a")
        path = store_of(directory)
        OF_FILE[done](path)
        for _ in range(2):  # also over a connection that is opened then
            with pytest.raises(Unavailable, match=path.name):
                write(operations, "b")
        assert path.name in str(unsound(operations))
        report = operations.perform(MaintainStores())
        assert path.name in str(report.problems)
        add_tenant(operations, "u", "c")  # the others are not affected
        operations.perform(UpsertDocuments(**at("u")._asdict(), documents=[document("x")]))


@pytest.mark.parametrize("done", OF_FILE)
def test_write_beside_displaced_metadata_is_refused(done: str, directory: Path) -> None:
    with opened(directory) as operations:
        add_tenant(operations, "t", "c")
        write(operations, "a")
        OF_FILE[done](directory / METADATA_NAME)
        with pytest.raises(Unavailable, match=METADATA_NAME):
            write(operations, "b")
        with pytest.raises(Unavailable, match=METADATA_NAME):
            operations.perform(CreateTenant(name="U"))
        assert METADATA_NAME in str(unsound(operations))
        with pytest.raises(Unavailable, match=METADATA_NAME):
            open_local(directory, Settings())


def test_write_succeeds_after_directory_was_put_back(directory: Path) -> None:
    with opened(directory) as operations:
        add_tenant(operations, "t", "c")
        write(operations, "a")
        rename(directory)
        with pytest.raises(Unavailable):
            write(operations, "b")
        directory.with_name("renamed").rename(directory)
        write(operations, "c")
        assert count(operations) == 2
        assert unsound(operations) == []
    assert disagreements(directory) == []


@pytest.mark.parametrize("name", [METADATA_NAME, TENANTS_NAME])
@pytest.mark.parametrize("suffix", ["-wal", "-shm"])
def test_removed_log_loses_nothing(name: str, suffix: str, directory: Path) -> None:
    with opened(directory) as operations:
        add_tenant(operations, "t", "c")
        write(operations, "a")
        path = directory / METADATA_NAME if name == METADATA_NAME else store_of(directory)
        Path(f"{path}{suffix}").unlink()
        acknowledged, refused = 1, []
        for number in range(3):
            try:
                write(operations, f"b{number}")
                operations.perform(CreateTenant(name=f"U {number}"))
            except Unavailable as error:
                refused.append(error.message)
            else:
                acknowledged += 1
    assert suffix == "-wal" or not refused
    assert all("write-ahead log" in message for message in refused)
    with opened(directory) as operations:
        assert acknowledged <= count(operations) <= 4
        assert unsound(operations) == []
    assert disagreements(directory) == []


def test_log_that_was_removed_from_idle_store_is_saved_by_maintenance(directory: Path) -> None:
    with opened(directory) as operations:
        add_tenant(operations, "t", "c")
        write(operations, "a")
        paths = [directory / METADATA_NAME, store_of(directory)]
        for path in paths:
            Path(f"{path}-wal").unlink()
        problems = [problem for _ in paths for problem in operations.perform(MaintainStores()).problems]
        assert ["what it held is saved" in problem for problem in problems] == [True, True]
        assert operations.perform(MaintainStores()).problems == []
        copy = directory.with_name("copy")  # as a crash leaves it now
        shutil.copytree(directory, copy)
        write(operations, "b")
    with opened(copy) as operations:
        assert count(operations) == 1
        assert unsound(operations) == []


def test_server_is_not_ready_when_its_directory_was_removed(directory: Path) -> None:
    with opened(directory) as operations:
        operations.ready()
        rename(directory)
        with pytest.raises(Unavailable, match="the data directory was"):
            operations.ready()


def test_new_connection_opens_directory_that_replaced_displaced_one(directory: Path) -> None:
    with opened(directory) as first:
        add_tenant(first, "t", "c")
        write(first, "a")
        rename(directory)
        with opened(directory) as second:
            assert second.perform(ListTenants()).items == []
            add_tenant(second, "t", "c")
            write(second, "b", "c")
            with pytest.raises(Unavailable):
                write(first, "d")
            first.perform(MaintainStores())
            first.close()
            write(second, "e")  # closing the first one has removed no file of the second
            assert count(second) == 3
            assert exit_code(_is_refused, directory) == 0
    assert disagreements(directory) == []
    with opened(directory) as again:
        assert count(again) == 3
    with opened(directory.with_name("renamed")) as moved:
        assert count(moved) == 1
        assert unsound(moved) == []


def _is_refused(directory: Path) -> None:
    with pytest.raises(DirectoryHeld), opened(directory):
        pass


@pytest.mark.parametrize("done", ["removed", "renamed", "replaced"])
def test_displaced_note_does_not_admit_second_owner(done: str, directory: Path) -> None:
    with opened(directory) as operations:
        add_tenant(operations, "t", "c")
        OF_FILE[done](directory / LOCK_NAME)
        assert exit_code(_is_refused, directory) == 0
        write(operations, "a")
        operations.perform(MaintainStores())  # writes the note again
        assert f'"pid":{os.getpid()}' in (directory / LOCK_NAME).read_text()
    assert (directory / LOCK_NAME).read_bytes() == b""


@pytest.mark.parametrize("way", ["moved", "link"])
def test_other_name_of_directory_does_not_admit_second_owner(way: str, directory: Path) -> None:
    with opened(directory) as operations:
        add_tenant(operations, "t", "c")
        other = directory.with_name("other")
        if way == "moved":
            directory.rename(other)
        else:
            other.symlink_to(directory)
        assert exit_code(_is_refused, other) == 0


def test_linked_files_do_not_admit_second_owner(directory: Path) -> None:
    with opened(directory) as operations:
        add_tenant(operations, "t", "c")
        write(operations, "a")
        other = directory.with_name("other")
        shutil.copytree(directory, other, copy_function=os.link)
        (other / LOCK_NAME).unlink()  # it is locked, too
        assert exit_code(_links_are_refused, other) == 0
        with pytest.raises(Unavailable, match="second name"):
            write(operations, "b")
        shutil.rmtree(other)
        write(operations, "b")


def _links_are_refused(directory: Path) -> None:
    with pytest.raises(Unavailable, match=f"{METADATA_NAME} has a second name"), opened(directory):
        pass


def test_directory_replaced_while_it_is_locked_is_refused(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory.mkdir()
    real = os.open

    def replacing(path: Path, *arguments: Any, **named: Any) -> int:
        descriptor = real(path, *arguments, **named)
        if path == directory:
            directory.rename(directory.with_name("old"))
            directory.mkdir()
        return descriptor

    monkeypatch.setattr(os, "open", replacing)
    with pytest.raises(Unavailable, match="was replaced while it was being opened"):
        OwnerLock(directory)
