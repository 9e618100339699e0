"""Indexes of words that are derived from PostgreSQL: temporary, or kept in a directory."""

import logging
from pathlib import Path

import pytest

from akidb.deployment.index_directory import IndexDirectory
from akidb.domain.documents import SearchMode
from akidb.domain.errors import Unavailable
from akidb.operations import documents as ask
from akidb.operations import tenants
from akidb.operations.upkeep import MaintainStores

from .worlds import GOOD, World, ids_of, opened


def found(world: World) -> list[str]:
    question = ask.SearchDocuments(
        tenant="aki-labs", database="kb", collection="notes", text="fox", mode=SearchMode.KEYWORD
    )
    return ids_of(world.ops.perform(question).matches)


@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
def test_indexes_are_kept_in_the_directory_and_removed_from_it(place: str, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "indexes"
    with opened(place, index_directory=str(folder)) as world:
        path = world.place()
        world.on(path, ask.UpsertDocuments, documents=[{"id": "a", "text": "fox", "vector": GOOD}])
        assert found(world) == ["a"]
        [file] = folder.rglob("keywords.db")
        before = file.stat()
        world.reopen()
        assert found(world) == ["a"]
        assert file.stat() == before, "not built again"
        assert folder.stat().st_mode & 0o777 == 0o700
    with opened(place) as other:  # as another server, without the directory
        assert found(other) == ["a"]
        other.ops.perform(tenants.DeleteTenant(tenant="aki-labs"))
        other.ops.perform(tenants.PurgeTenant(tenant="aki-labs"))
    assert file.exists()
    with opened(place, index_directory=str(folder)) as world:
        world.ops.perform(MaintainStores())
        assert not list(folder.iterdir())


def test_directory_of_another_process_is_left_to_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = IndexDirectory(tmp_path / "indexes")
    with caplog.at_level(logging.WARNING):
        second = IndexDirectory(tmp_path / "indexes")
    assert (first.path, second.path) == (tmp_path / "indexes", None)
    assert "another process" in caplog.text
    first.release()
    second.release()
    third = IndexDirectory(tmp_path / "indexes")
    assert third.path == tmp_path / "indexes"
    third.release()


def test_unusable_directory_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for path in (file, file / "below"):
        with pytest.raises(Unavailable, match="index_directory"):
            IndexDirectory(path)
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    with pytest.raises(Unavailable, match="other users"):
        IndexDirectory(tmp_path / "shared")
