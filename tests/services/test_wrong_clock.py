"""A clock that is wrong, or was, expires nothing early: not deleted entities, stored responses or copies."""

import logging
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from akidb.deployment import clock
from akidb.deployment.local import LocalOperations, open_local
from akidb.domain.errors import NotFound
from akidb.domain.upkeep import MaintenanceReport
from akidb.operations.collections import CreateCollection, DeleteCollection, RestoreCollection
from akidb.operations.databases import CreateDatabase, DeleteDatabase, RestoreDatabase
from akidb.operations.documents import UpsertDocuments
from akidb.operations.tenants import CreateTenant, DeleteTenant, GetTenant, PurgeTenant, RestoreTenant
from akidb.operations.upkeep import CheckStores, MaintainStores
from akidb.services import maintenance
from akidb.settings import Settings
from akidb.sql import server_clock
from akidb.sql.schema_backups import SchemaBackups

from .worlds import World, keyed, opened

SOURCE = Path(__file__).parents[2] / "src" / "akidb"
TRUE_TIME = datetime.now(UTC)
BEFORE_NTP = datetime(1970, 1, 1, 0, 10, tzinfo=UTC)
WEEK = timedelta(days=7)
HOUR = timedelta(hours=1)


class Wall:
    """The clock of the machine; the kernel's count of seconds is that of this machine, unless time passes."""

    def __init__(self, patch: pytest.MonkeyPatch, time: datetime) -> None:
        self.time = time
        self.passed = timedelta(0)
        self._count = server_clock.elapsed_seconds
        self._began = self._count()
        patch.setattr(clock, "wall_seconds", self._wall_seconds)
        patch.setattr(clock, "elapsed_seconds", self._elapsed_seconds)

    def let_pass(self, time: timedelta) -> None:
        self.passed += time

    def _wall_seconds(self) -> float:
        return self.time.timestamp() + self.passed.total_seconds() + self._count() - self._began

    def _elapsed_seconds(self) -> float:
        return self._count() + self.passed.total_seconds()


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    return Wall(monkeypatch, TRUE_TIME)


@pytest.fixture
def world(tmp_path: Path, wall: Wall) -> Iterator[World]:
    with opened(tmp_path / "data") as made:
        yield made


def delete_some(operations: LocalOperations) -> None:
    """Delete one thing of each kind."""
    for slug in ("kept", "gone"):
        operations.perform(CreateTenant(name=slug))
        operations.perform(CreateDatabase(tenant=slug, name="d"))
        operations.perform(CreateDatabase(tenant=slug, name="e"))
        operations.perform(CreateCollection(tenant=slug, database="d", name="c", dimension=16))
    operations.perform(DeleteCollection(tenant="kept", database="d", collection="c"))
    operations.perform(DeleteDatabase(tenant="kept", database="e"))
    operations.perform(DeleteTenant(tenant="gone"))


def restore_all(operations: LocalOperations) -> None:
    operations.perform(RestoreTenant(tenant="gone"))
    operations.perform(RestoreDatabase(tenant="kept", database="e"))
    operations.perform(RestoreCollection(tenant="kept", database="d", collection="c"))


def in_process(world: World) -> None:
    """The process that deleted goes on."""


def reopened(world: World) -> None:
    world.reopen()


@pytest.mark.parametrize("then", [in_process, reopened])
@pytest.mark.parametrize(
    ("deleted_at", "set_to"),
    [
        (TRUE_TIME, TRUE_TIME + timedelta(days=8)),
        (TRUE_TIME, TRUE_TIME + timedelta(days=20_000)),
        (BEFORE_NTP, TRUE_TIME),
        (TRUE_TIME - timedelta(days=8), TRUE_TIME),
    ],
)
def test_jump_purges_nothing_and_is_reported(
    world: World, wall: Wall, deleted_at: datetime, set_to: datetime, then: Callable[[World], None]
) -> None:
    wall.time = deleted_at
    world.reopen()
    delete_some(world.ops)
    wall.time = set_to
    then(world)
    report = world.ops.perform(MaintainStores())
    assert (report.tenants_purged, report.databases_purged, report.collections_purged) == (0, 0, 0)
    assert "deleted data is kept longer: the clock jumped forward by" in (report.waiting or "")
    assert report.problems == []
    [finding] = [each for each in world.ops.perform(CheckStores()).items if each.check == "clock"]
    assert "the clock jumped forward by" in finding.detail
    wall.let_pass(WEEK - HOUR)
    assert world.ops.perform(MaintainStores()).tenants_purged == 0
    restore_all(world.ops)


def test_seven_days_after_the_jump_all_is_purged(world: World, wall: Wall) -> None:
    wall.time = BEFORE_NTP
    world.reopen()
    delete_some(world.ops)
    wall.time = TRUE_TIME
    world.reopen()
    wall.let_pass(WEEK + HOUR)
    report = world.ops.perform(MaintainStores())
    assert (report.tenants_purged, report.databases_purged, report.collections_purged) == (1, 1, 1)
    assert report.waiting is None


def test_explicit_purge_works_whatever_the_clock_says(world: World, wall: Wall) -> None:
    delete_some(world.ops)
    wall.time = BEFORE_NTP
    world.ops.perform(PurgeTenant(tenant="gone"))
    with pytest.raises(NotFound):
        world.ops.perform(RestoreTenant(tenant="gone"))


def test_wait_is_logged_once(
    tmp_path: Path, wall: Wall, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(maintenance, "FIRST_ROUND_SECONDS", 0.01)
    monkeypatch.setattr(maintenance, "ROUND_SECONDS", 0.01)
    rounds = 0
    run = maintenance.Maintenance.run

    def counted(self: maintenance.Maintenance, **how: bool) -> MaintenanceReport:
        nonlocal rounds
        report = run(self, **how)
        rounds += report.waiting is not None
        return report

    monkeypatch.setattr(maintenance.Maintenance, "run", counted)
    with opened(tmp_path / "data") as world, caplog.at_level(logging.WARNING, "akidb"):
        world.ops.perform(CreateTenant(name="gone"))
        world.ops.perform(DeleteTenant(tenant="gone"))
        wall.time += timedelta(days=8)
        until = datetime.now(UTC) + timedelta(seconds=30)
        while rounds < 5:
            assert datetime.now(UTC) < until
    told = [each.message for each in caplog.records if "deleted data is kept longer" in each.message]
    assert len(told) == 1


def test_repeated_request_is_recognised_after_a_jump(world: World, wall: Wall) -> None:
    """Its response counts as expired a day after it was seen, not when the clock says so."""
    path = world.place()
    with keyed(idempotency_key="k"):
        made = world.tenant("Once")
        ids = world.on(path, UpsertDocuments, documents=[{"vector": [1.0] * 16}]).ids
    wall.time += timedelta(days=8)
    with keyed(idempotency_key="another"):  # storing a response deletes expired ones
        world.tenant("Other")
        world.on(path, UpsertDocuments, documents=[{"vector": [1.0] * 16}])
    world.ops.perform(MaintainStores())
    with keyed(idempotency_key="k"):
        assert world.tenant("Once") == made
        assert world.on(path, UpsertDocuments, documents=[{"vector": [1.0] * 16}]).ids == ids


def test_copies_of_a_wrong_clock_are_removed_by_a_purge_but_not_by_a_jump(
    world: World, wall: Wall, tmp_path: Path
) -> None:
    """A copy that was taken before the purge, by a clock that was ahead, holds what was purged."""
    folder = tmp_path / "data" / "backups"
    folder.mkdir()
    ahead = TRUE_TIME + timedelta(days=30)
    for taken_at in (TRUE_TIME - HOUR, ahead):
        (folder / f"metadata-0001-{taken_at:%Y%m%dT%H%M%S.%fZ}.db").touch()
    delete_some(world.ops)
    wall.time += timedelta(days=8)
    assert world.ops.perform(MaintainStores()).copies_removed == 0
    wall.time -= timedelta(days=8)
    world.ops.perform(PurgeTenant(tenant="gone"))
    assert list(SchemaBackups(folder, lambda: TRUE_TIME).all()) == []


class Ahead(datetime):
    """The clock of a process that is eight days ahead."""

    @classmethod
    def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
        return datetime.now(UTC) + timedelta(days=8)


def test_on_postgresql_the_clock_of_the_database_decides(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This process is eight days ahead of the server."""
    monkeypatch.setattr(server_clock, "datetime", Ahead)
    Wall(monkeypatch, TRUE_TIME + timedelta(days=8))
    operations = open_local(postgres_url, Settings(default_model="hash"))
    try:
        delete_some(operations)
        created_at = operations.perform(GetTenant(tenant="kept")).created_at
        assert abs(created_at - datetime.now(UTC)) < timedelta(minutes=10)
        report = operations.perform(MaintainStores())
        assert (report.tenants_purged, report.waiting) == (0, None)
        restore_all(operations)
        [finding] = [each for each in operations.perform(CheckStores()).items if each.check == "clock"]
        assert "this machine's clock is 8 days, 0:00:00 ahead of the database's" in finding.detail
    finally:
        operations.close()


def test_time_of_the_database_goes_on_between_its_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 100.0
    monkeypatch.setattr(server_clock, "elapsed_seconds", lambda: count)
    heard = server_clock.ServerClock()
    heard.hear(BEFORE_NTP, count)
    count += 60
    assert heard.now() == BEFORE_NTP + timedelta(minutes=1)
    count += 2  # an answer that took so long says nothing new
    heard.hear(BEFORE_NTP + timedelta(seconds=61), count - 2)
    assert heard.now() == BEFORE_NTP + timedelta(seconds=62)
    heard.hear(TRUE_TIME, count)  # the server's clock was set
    assert heard.now() == TRUE_TIME
    assert heard.before(WEEK) == TRUE_TIME - WEEK


CLOCKS = {"deployment/clock.py", "sql/server_clock.py"}
OTHERS = {
    "deployment/schema_changes.py",  # names copies, while no store is open
    "observe/tracing.py",  # spans are compared with those of other programs
}


READS = re.compile(r"\b(datetime\.(now|utcnow)|date\.today|time\.time(_ns)?)\b")


def test_only_the_clocks_read_the_time_of_the_machine() -> None:
    paths = [path for path in SOURCE.rglob("*.py") if "bench" not in path.parts]
    found = {str(path.relative_to(SOURCE)) for path in paths if READS.search(path.read_text())}
    assert found == CLOCKS | OTHERS
