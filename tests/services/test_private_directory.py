"""A data directory that other users may change, or that leads elsewhere, is refused."""

import os
import stat
from pathlib import Path

import pytest

from akidb.deployment.schema_changes import migrate
from akidb.domain.errors import Unavailable
from akidb.domain.fields import CollectionPath
from akidb.operations.documents import UpsertDocuments
from akidb.operations.tenants import ListTenants
from akidb.operations.upkeep import MaintainStores
from akidb.settings import Settings

from .worlds import World, notes, opened

PATH = CollectionPath("aki-labs", "kb", "notes")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A closed directory with a tenant."""
    path = tmp_path / "data"
    with opened(path) as world:
        world.on(world.place(), UpsertDocuments, documents=notes("a"))
    return path


def refused(directory: Path, reason: str) -> None:
    """Every way to open the directory is refused."""
    with pytest.raises(Unavailable, match=reason):
        World(directory)
    with pytest.raises(Unavailable, match=reason):
        migrate(directory, Settings())


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o702, 0o720])
@pytest.mark.parametrize("name", ["", "tenants", "metadata.db"])
def test_directory_writable_by_others_is_refused(name: str, mode: int, directory: Path) -> None:
    (directory / name).chmod(mode)
    refused(directory, "can be changed by other users .*chmod go-w")
    assert stat.S_IMODE((directory / name).stat().st_mode) == mode, "nothing was changed"
    (directory / name).chmod(0o700)
    with opened(directory) as world:
        assert len(world.ops.perform(ListTenants()).items) == 1


@pytest.mark.parametrize("mode", [0o755, 0o750, 0o711])
def test_directory_readable_by_others_is_closed_to_them(mode: int, directory: Path) -> None:
    directory.chmod(mode)
    with opened(directory):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o755])
def test_directory_opened_to_others_meanwhile_is_closed_by_maintenance(mode: int, directory: Path) -> None:
    with opened(directory) as world:
        directory.chmod(mode)
        world.ops.perform(MaintainStores())
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["tenants", "metadata.db", "backups", "tmp", "owner.lock"])
def test_link_in_directory_is_refused(name: str, directory: Path, tmp_path: Path) -> None:
    path, elsewhere = directory / name, tmp_path / "elsewhere"
    if path.exists():
        path.rename(elsewhere)
    else:
        elsewhere.mkdir()
    path.symlink_to(elsewhere)
    refused(directory, f"{name} is a symbolic link")


def test_link_to_tenant_store_is_refused(directory: Path, tmp_path: Path) -> None:
    [path] = (directory / "tenants").glob("*.db")
    path.rename(tmp_path / "elsewhere.db")
    path.symlink_to(tmp_path / "elsewhere.db")
    with opened(directory) as world, pytest.raises(Unavailable, match=f"{path.name} is a symbolic link"):
        world.on(PATH, UpsertDocuments, documents=notes("b"))


def test_link_to_directory_is_followed(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(directory)
    with opened(tmp_path / "link") as world:
        assert len(world.ops.perform(ListTenants()).items) == 1


def test_directory_of_another_user_is_refused(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    refused(directory, f"belongs to user {owner}, but this process runs as user {owner + 1}")
