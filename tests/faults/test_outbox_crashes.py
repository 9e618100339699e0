"""A change is atomic across both stores when the process dies at any step."""

import shutil
from pathlib import Path

import pytest
from disk_steps import COMMITTED
from fault_tools import disagreements, failure, opened, unsound
from outbox_world import ACTIONS, REPEATED, act, act_until, build, undisturbed, view

from children import exit_code

DIED = 9


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("world") / "data"
    build(directory)
    return directory


@pytest.mark.parametrize("action", ACTIONS)
def test_change_is_atomic_when_process_dies_at_any_step(
    action: str, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, after, steps = undisturbed(action, world, tmp_path, monkeypatch)
    assert before != after
    assert any(step.endswith(COMMITTED) for step in steps)
    for place, step in enumerate(steps):
        directory = tmp_path / str(place)
        shutil.copytree(world, directory)
        assert exit_code(act_until, directory, action, place) == DIED, step
        committed = any(earlier.endswith(COMMITTED) for earlier in steps[: place + 1])
        _check(action, directory, before, after, step, must_be_done=committed and "document" not in action)


@pytest.mark.parametrize("action", ["write the first document", "purge a tenant"])
def test_doctor_passes_with_files_left_by_crash(
    action: str, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, steps = undisturbed(action, world, tmp_path, monkeypatch)
    for place, step in enumerate(steps):
        directory = tmp_path / str(place)
        shutil.copytree(world, directory)
        assert exit_code(act_until, directory, action, place) == DIED, step
        with opened(directory) as operations:
            assert unsound(operations) == [], step
            assert disagreements(directory) == [], step


def _check(
    action: str,
    directory: Path,
    before: dict[str, object],
    after: dict[str, object],
    step: str,
    *,
    must_be_done: bool,
) -> None:
    with opened(directory) as operations:
        seen = view(operations)
        assert seen in ([after] if must_be_done else [before, after]), step
        assert unsound(operations) == [], step
        assert disagreements(directory) == [], step
        # The client that got no answer asks again under the same key, and later without one.
        act(operations, action)
        assert view(operations) == after, step
        assert failure(ACTIONS[action], operations) in REPEATED, step
        assert unsound(operations) == [], step
    assert disagreements(directory) == [], step
