"""The sweeper: what is deleted is purged when its time has come, by itself, by whoever gets there first."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from akidb.deployment.local import LocalOperations, open_local
from akidb.domain.errors import InvalidArgument, NotFound
from akidb.domain.lifecycle import TenantStatus
from akidb.ports.operations import CollectionPath
from akidb.ports.upkeep import MaintenanceReport
from akidb.services import maintenance
from akidb.services.maintenance import RETENTION_PASSED
from akidb.services.store_access import StoreAccess
from akidb.settings import Settings, load

from .worlds import World, notes, opened

PATH = CollectionPath("aki-labs", "kb", "notes")
WEEK = timedelta(days=7)
NOTHING = {
    "tenants_purged": 0,
    "databases_purged": 0,
    "collections_purged": 0,
    "stores_settled": 0,
    "copies_removed": 0,
    "traces_remain": False,
    "problems": [],
}


class Now:
    """The clock of everything that is opened."""

    def __init__(self) -> None:
        self.time = datetime(2026, 1, 31, 9, 15, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> Now:
    made = Now()
    monkeypatch.setattr("akidb.deployment.local._now", made)
    return made


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """A directory, or the URL of a database."""
    if request.param == "sqlite":
        return tmp_path
    return f"postgresql:{str(request.getfixturevalue('postgres_url')).partition(':')[2]}"


@pytest.fixture
def ops(now: Now, place: Path | str) -> Iterator[LocalOperations]:
    made = open_local(place, Settings(default_model="hash"))
    yield made
    made.close()


def fill(ops: LocalOperations, name: str = "Aki Labs") -> CollectionPath:
    tenant = ops.tenants.create(name)
    ops.databases.create(tenant.slug, "kb")
    ops.collections.create(tenant.slug, "kb", "notes", dimension=16)
    path = CollectionPath(tenant.slug, "kb", "notes")
    ops.documents.upsert(path, notes("a", "b"))
    return path


def did(**counts: Any) -> MaintenanceReport:
    return MaintenanceReport(**{**NOTHING, **counts})


def test_a_deleted_tenant_is_kept_for_a_week_and_purged_then(ops: LocalOperations, now: Now) -> None:
    path = fill(ops)
    tenant = ops.tenants.get(path.tenant)
    ops.tenants.delete(path.tenant)
    now.time += WEEK - timedelta(microseconds=1)
    assert ops.maintain() == did()
    assert [each.slug for each in ops.tenants.list(deleted=True).items] == ["aki-labs"]
    now.time += timedelta(microseconds=1)
    assert ops.maintain() == did(tenants_purged=1)
    assert ops.tenants.list(deleted=True).items == []
    with pytest.raises(NotFound):
        ops.tenants.restore(tenant.tenant_id)
    entry = ops.audit.list(tenant.tenant_id).items[-1]
    assert (entry.action, entry.reason, entry.user_id) == ("tenant.purge", RETENTION_PASSED, None)
    fill(ops)  # its slug is free again
    assert [finding.detail for finding in ops.doctor() if not finding.ok] == []


def test_databases_and_collections_are_swept_with_their_documents(ops: LocalOperations, now: Now) -> None:
    fill(ops)
    ops.databases.create("aki-labs", "second")
    ops.collections.create("aki-labs", "second", "notes", dimension=16)
    ops.documents.upsert(CollectionPath("aki-labs", "second", "notes"), notes("c"))
    ops.collections.create("aki-labs", "kb", "stays", dimension=16)
    ops.collections.delete(*PATH)
    ops.databases.delete("aki-labs", "second")
    now.time += WEEK
    assert ops.maintain() == did(databases_purged=1, collections_purged=1)
    usage = ops.tenants.usage("aki-labs")
    assert (usage.documents, usage.storage_bytes.used) == (0, 0)
    assert (usage.databases, usage.collections) == (1, 1)
    assert [finding.detail for finding in ops.doctor() if not finding.ok] == []
    reasons = {e.action: e.reason for e in ops.audit.list("aki-labs").items if e.action.endswith(".purge")}
    assert reasons == {"database.purge": RETENTION_PASSED, "collection.purge": RETENTION_PASSED}


def test_what_is_restored_in_time_stays(ops: LocalOperations, now: Now) -> None:
    fill(ops)
    ops.tenants.delete("aki-labs")
    now.time += WEEK
    ops.tenants.restore("aki-labs")
    assert ops.maintain() == did()
    assert ops.documents.count(PATH) == 2
    ops.tenants.delete("aki-labs")  # its time begins anew
    assert ops.maintain() == did()


def test_a_store_is_told_what_a_process_that_ended_did_not_tell_it(
    ops: LocalOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ops)
    with monkeypatch.context() as patched:
        patched.setattr(StoreAccess, "apply_pending", lambda _self, _tenant_id: None)
        ops.tenants.suspend("aki-labs")
    assert ops._runtime.outbox_depth() == 1
    assert ops.maintain() == did(stores_settled=1)
    assert ops._runtime.outbox_depth() == 0
    with ops._runtime.stores.existing(ops.tenants.get("aki-labs").tenant_id) as store:
        assert store is not None
        assert store.control_state().tenant_status == TenantStatus.SUSPENDED


def test_many_are_swept_in_batches(ops: LocalOperations, now: Now) -> None:
    for number in range(maintenance.BATCH + 20):
        ops.tenants.create(f"t {number}")
        ops.tenants.delete(f"t-{number}")
    now.time += WEEK
    assert ops.maintain() == did(tenants_purged=maintenance.BATCH + 20)


def test_sweepers_at_once_purge_each_thing_once(ops: LocalOperations, now: Now) -> None:
    tenants = []
    for number in range(150):
        tenants.append(ops.tenants.create(f"t {number}").tenant_id)
        ops.tenants.delete(f"t-{number}")
    now.time += WEEK
    rounds = maintenance_of(ops)
    with ThreadPoolExecutor(len(rounds)) as pool:
        reports = list(pool.map(lambda run: run(), rounds))
    assert sum(report.tenants_purged for report in reports) == 150
    assert [report.problems for report in reports] == [[]] * len(rounds)
    for tenant_id in tenants:
        actions = [entry.action for entry in ops.audit.list(tenant_id).items]
        assert actions.count("tenant.purge") == 1


def maintenance_of(ops: LocalOperations) -> list[Callable[[], MaintenanceReport]]:
    """Rounds that know nothing of each other, as in several processes."""
    rounds = []
    for _ in range(3):
        made = object.__new__(maintenance.Maintenance)
        made.__dict__.update(ops._runtime.maintenance.__dict__, _round=threading.Lock())
        rounds.append(made.run)
    return rounds


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with opened(tmp_path, retention_seconds=0) as made:
        yield made


def test_a_store_that_fails_is_named_and_keeps_no_other(world: World) -> None:
    for name in ("one", "two"):
        path = world.place(name)
        world.ops.documents.upsert(path, notes("a"))
        world.ops.collections.delete(*path)
    damaged = world.store_file(world.ops.tenants.get("one"))
    world.ops.close()
    damaged.write_bytes(b"damage" * 4096)
    world.ops = world.connect()
    report = world.ops.maintain()
    assert report.collections_purged == 2
    [problem] = report.problems
    assert damaged.name in problem
    assert world.ops.tenants.usage("two").documents == 0


def test_the_background_sweeps_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "FIRST_ROUND_SECONDS", 0.05)
    monkeypatch.setattr(maintenance, "ROUND_SECONDS", 0.05)
    before = threading.enumerate()
    with opened(tmp_path, retention_seconds=0) as world:
        for name in ("first", "second"):  # in two rounds
            world.tenant(name)
            world.ops.tenants.delete(name)
            deadline = time.monotonic() + 60
            while world.ops.tenants.list(deleted=True).items:
                assert time.monotonic() < deadline
                time.sleep(0.01)
    for thread in threading.enumerate():
        if thread.name == "akidb-maintenance" and thread not in before:
            thread.join(60)
            assert not thread.is_alive()


def test_a_round_that_fails_is_logged_and_followed_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(maintenance, "FIRST_ROUND_SECONDS", 0.02)
    monkeypatch.setattr(maintenance, "ROUND_SECONDS", 0.02)
    run = maintenance.Maintenance.run
    rounds: list[int] = []

    def failing(self: maintenance.Maintenance) -> MaintenanceReport:
        rounds.append(1)
        if len(rounds) == 1:
            raise ZeroDivisionError
        return run(self)

    monkeypatch.setattr(maintenance.Maintenance, "run", failing)
    with opened(tmp_path):
        deadline = time.monotonic() + 60
        while len(rounds) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert "a round of maintenance failed" in caplog.text


def test_closing_waits_for_a_batch_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "BATCH", 5)
    with opened(tmp_path, retention_seconds=0) as world:
        for number in range(200):
            world.tenant(f"t {number}")
            world.ops.tenants.delete(f"t-{number}")
        sweep = world.ops._runtime.maintenance
        began = threading.Event()
        tenant = sweep._purging.tenant

        def slowly(*what: Any, **how: Any) -> None:
            began.set()
            time.sleep(0.01)
            tenant(*what, **how)

        monkeypatch.setattr(sweep._purging, "tenant", slowly)
        failed: list[BaseException] = []

        def run() -> None:
            try:
                sweep.run()
            except Exception as error:  # noqa: BLE001 - looked at below
                failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        began.wait()
        world.ops.close()
        thread.join()
        assert all("closed" in str(error) for error in failed)
        world.ops = world.connect()
        left = len(world.ops.tenants.list(deleted=True, limit=1000).items)
        assert 0 < left < 200
        assert left % 5 == 0  # a batch is purged as a whole
        assert world.ops.maintain().tenants_purged == left


@pytest.mark.parametrize("seconds", [-1, 100 * 365 * 24 * 3600 + 1, "a week"])
def test_a_wrong_retention_is_refused(seconds: object) -> None:
    with pytest.raises(InvalidArgument) as caught:
        load(retention_seconds=seconds)
    assert caught.value.field == "retention_seconds"


def test_connections_to_one_directory_agree_on_the_retention(world: World) -> None:
    with pytest.raises(InvalidArgument) as caught:
        open_local(world.directory, Settings(models_dir=world.settings.models_dir, default_model="hash"))
    assert caught.value.field == "retention_seconds"
