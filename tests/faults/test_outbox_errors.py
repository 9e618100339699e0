"""A disk error or interrupt at any step of a change is resolved by the next operation."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from disk_steps import COMMITTED, DiskSteps
from fault_tools import disagreements, failure, opened, unsound
from outbox_world import ACTIONS, REPEATED, SLUGS, act, build, undisturbed, view

from akidb.domain.errors import InvalidState, Unavailable
from akidb.operations.collections import GetCollection
from akidb.operations.tenants import GetTenant, GetUsage, SuspendTenant


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("world") / "data"
    build(directory)
    return directory


def _fail(step: str) -> None:
    if step.endswith(COMMITTED):
        raise KeyboardInterrupt  # nothing else comes between a commit and the next line
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("action", ACTIONS)
def test_process_continues_after_failed_step(
    action: str, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after, steps = undisturbed(action, world, tmp_path, monkeypatch)
    for place, step in enumerate(steps):
        directory = tmp_path / str(place)
        shutil.copytree(world, directory)
        with opened(directory) as operations:
            for slug in SLUGS:  # open stores are the ones that must be told
                failure(operations.perform, GetUsage(tenant=slug))
            with monkeypatch.context() as patch:
                DiskSteps(place, _fail).install(patch)
                with pytest.raises((Unavailable, KeyboardInterrupt)):
                    act(operations, action)
            assert view(operations) in (before, after), step
            assert unsound(operations) == [], step
            assert disagreements(directory) == [], step
            act(operations, action)
            assert view(operations) == after, step
            assert failure(ACTIONS[action], operations) in REPEATED, step
            assert unsound(operations) == [], step
        assert disagreements(directory) == [], step


def test_open_store_with_pending_suspension_rejects_writes(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(world, tmp_path / "data")
    with opened(tmp_path / "data") as operations:
        tenant_id = operations.perform(GetTenant(tenant="work")).tenant_id
        collection_id = operations.perform(
            GetCollection(tenant="work", database="d", collection="c")
        ).collection_id
        with operations._runtime.stores.made(tenant_id) as held:
            with monkeypatch.context() as patch:
                # The second step is the store's commit: the suspension stands in the metadata alone.
                DiskSteps(2, _fail).install(patch)
                with pytest.raises(Unavailable):
                    operations.perform(SuspendTenant(tenant="work"))
            assert operations.perform(SuspendTenant(tenant="work")).status == "suspended"
            with pytest.raises((Unavailable, InvalidState)), held.transaction(collection_id):
                pass
