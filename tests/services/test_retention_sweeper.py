"""The sweeper purges deleted resources after their retention, automatically and exactly once."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from akidb.deployment.local import LocalOperations, open_local
from akidb.domain.errors import InvalidArgument, NotFound
from akidb.domain.fields import CollectionPath
from akidb.domain.lifecycle import TenantStatus
from akidb.domain.upkeep import MaintenanceReport
from akidb.operations.audit import ListAuditEntries
from akidb.operations.collections import CreateCollection, DeleteCollection
from akidb.operations.databases import CreateDatabase, DeleteDatabase
from akidb.operations.documents import CountDocuments, UpsertDocuments
from akidb.operations.tenants import (
    CreateTenant,
    DeleteTenant,
    GetTenant,
    GetUsage,
    ListTenants,
    RestoreTenant,
    SuspendTenant,
)
from akidb.operations.upkeep import CheckStores, MaintainStores
from akidb.services import maintenance
from akidb.services.maintenance import RETENTION_PASSED
from akidb.services.store_access import StoreAccess
from akidb.settings import Settings, load
from clocks import SetClock

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
    "waiting": None,
}


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    """The clock of everything that is opened."""
    made = SetClock()
    made.install(monkeypatch)
    return made


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """A directory, or the URL of a database."""
    if request.param == "sqlite":
        return tmp_path
    return f"postgresql:{str(request.getfixturevalue('postgres_url')).partition(':')[2]}"


@pytest.fixture
def ops(now: SetClock, place: Path | str) -> Iterator[LocalOperations]:
    made = open_local(place, Settings(default_model="hash"))
    yield made
    made.close()


def fill(ops: LocalOperations, name: str = "Aki Labs") -> CollectionPath:
    tenant = ops.perform(CreateTenant(name=name))
    ops.perform(CreateDatabase(tenant=tenant.slug, name="kb"))
    ops.perform(CreateCollection(tenant=tenant.slug, database="kb", name="notes", dimension=16))
    path = CollectionPath(tenant.slug, "kb", "notes")
    ops.perform(UpsertDocuments(**path._asdict(), documents=notes("a", "b")))
    return path


def did(**counts: Any) -> MaintenanceReport:
    return MaintenanceReport(**{**NOTHING, **counts})


def test_deleted_tenant_is_purged_after_one_week(ops: LocalOperations, now: SetClock) -> None:
    path = fill(ops)
    tenant = ops.perform(GetTenant(tenant=path.tenant))
    ops.perform(DeleteTenant(tenant=path.tenant))
    now.time += WEEK - timedelta(microseconds=1)
    assert ops.perform(MaintainStores()) == did()
    assert [each.slug for each in ops.perform(ListTenants(deleted=True)).items] == ["aki-labs"]
    now.time += timedelta(microseconds=1)
    assert ops.perform(MaintainStores()) == did(tenants_purged=1)
    assert ops.perform(ListTenants(deleted=True)).items == []
    with pytest.raises(NotFound):
        ops.perform(RestoreTenant(tenant=tenant.tenant_id))
    entry = ops.perform(ListAuditEntries(tenant=tenant.tenant_id)).items[-1]
    assert (entry.action, entry.reason, entry.user_id) == ("tenant.purge", RETENTION_PASSED, None)
    fill(ops)  # its slug is free again
    assert [finding.detail for finding in ops.perform(CheckStores()).items if not finding.ok] == []


def test_expired_databases_and_collections_are_purged_with_their_documents(
    ops: LocalOperations, now: SetClock
) -> None:
    fill(ops)
    ops.perform(CreateDatabase(tenant="aki-labs", name="second"))
    ops.perform(CreateCollection(tenant="aki-labs", database="second", name="notes", dimension=16))
    ops.perform(
        UpsertDocuments(tenant="aki-labs", database="second", collection="notes", documents=notes("c"))
    )
    ops.perform(CreateCollection(tenant="aki-labs", database="kb", name="stays", dimension=16))
    ops.perform(DeleteCollection(**PATH._asdict()))
    ops.perform(DeleteDatabase(tenant="aki-labs", database="second"))
    now.time += WEEK
    assert ops.perform(MaintainStores()) == did(databases_purged=1, collections_purged=1)
    usage = ops.perform(GetUsage(tenant="aki-labs"))
    assert (usage.documents, usage.storage_bytes.used) == (0, 0)
    assert (usage.databases, usage.collections) == (1, 1)
    assert [finding.detail for finding in ops.perform(CheckStores()).items if not finding.ok] == []
    reasons = {
        e.action: e.reason
        for e in ops.perform(ListAuditEntries(tenant="aki-labs")).items
        if e.action.endswith(".purge")
    }
    assert reasons == {"database.purge": RETENTION_PASSED, "collection.purge": RETENTION_PASSED}


def test_resource_restored_before_expiry_is_kept(ops: LocalOperations, now: SetClock) -> None:
    fill(ops)
    ops.perform(DeleteTenant(tenant="aki-labs"))
    now.time += WEEK
    ops.perform(RestoreTenant(tenant="aki-labs"))
    assert ops.perform(MaintainStores()) == did()
    assert ops.perform(CountDocuments(**PATH._asdict())) == 2
    ops.perform(DeleteTenant(tenant="aki-labs"))  # its time begins anew
    assert ops.perform(MaintainStores()) == did()


def test_sweep_applies_pending_changes_of_ended_process(
    ops: LocalOperations, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(ops)
    with monkeypatch.context() as patched:
        patched.setattr(StoreAccess, "apply_pending", lambda _self, _tenant_id: None)
        ops.perform(SuspendTenant(tenant="aki-labs"))
    assert ops._runtime.outbox_depth() == 1
    assert ops.perform(MaintainStores()) == did(stores_settled=1)
    assert ops._runtime.outbox_depth() == 0
    with ops._runtime.stores.existing(ops.perform(GetTenant(tenant="aki-labs")).tenant_id) as store:
        assert store is not None
        assert store.control_state().tenant_status == TenantStatus.SUSPENDED


def test_sweep_runs_in_batches(ops: LocalOperations, now: SetClock) -> None:
    for number in range(maintenance.BATCH + 20):
        ops.perform(CreateTenant(name=f"t {number}"))
        ops.perform(DeleteTenant(tenant=f"t-{number}"))
    now.time += WEEK
    assert ops.perform(MaintainStores()) == did(tenants_purged=maintenance.BATCH + 20)


def test_concurrent_sweepers_purge_each_resource_once(ops: LocalOperations, now: SetClock) -> None:
    tenants = []
    for number in range(150):
        tenants.append(ops.perform(CreateTenant(name=f"t {number}")).tenant_id)
        ops.perform(DeleteTenant(tenant=f"t-{number}"))
    now.time += WEEK
    rounds = maintenance_of(ops)
    with ThreadPoolExecutor(len(rounds)) as pool:
        reports = list(pool.map(lambda run: run(), rounds))
    assert sum(report.tenants_purged for report in reports) == 150
    assert [report.problems for report in reports] == [[]] * len(rounds)
    for tenant_id in tenants:
        actions = [entry.action for entry in ops.perform(ListAuditEntries(tenant=tenant_id)).items]
        assert actions.count("tenant.purge") == 1


def maintenance_of(ops: LocalOperations) -> list[Callable[[], MaintenanceReport]]:
    """Rounds that know nothing of each other, as in several processes."""
    rounds: list[Callable[[], MaintenanceReport]] = []
    for _ in range(3):
        made = object.__new__(maintenance.Maintenance)
        made.__dict__.update(ops._runtime.maintenance.__dict__, _round=threading.Lock())
        rounds.append(made.run)
    return rounds


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with opened(tmp_path, retention_seconds=0) as made:
        yield made


def test_failing_store_is_reported_and_does_not_block_others(world: World) -> None:
    for name in ("one", "two"):
        path = world.place(name)
        world.on(path, UpsertDocuments, documents=notes("a"))
        world.on(path, DeleteCollection)
    damaged = world.store_file(world.ops.perform(GetTenant(tenant="one")))
    world.ops.close()
    damaged.write_bytes(b"damage" * 4096)
    world.ops = world.connect()
    report = world.ops.perform(MaintainStores())
    assert report.collections_purged == 2
    [problem] = report.problems
    assert damaged.name in problem
    assert world.ops.perform(GetUsage(tenant="two")).documents == 0


def test_background_thread_sweeps_automatically(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "FIRST_ROUND_SECONDS", 0.05)
    monkeypatch.setattr(maintenance, "ROUND_SECONDS", 0.05)
    before = threading.enumerate()
    with opened(tmp_path, retention_seconds=0) as world:
        for name in ("first", "second"):  # in two rounds
            world.tenant(name)
            world.ops.perform(DeleteTenant(tenant=name))
            deadline = time.monotonic() + 60
            while world.ops.perform(ListTenants(deleted=True)).items:
                assert time.monotonic() < deadline
                time.sleep(0.01)
    for thread in threading.enumerate():
        if thread.name == "akidb-maintenance" and thread not in before:
            thread.join(60)
            assert not thread.is_alive()


def test_failed_sweep_is_logged_and_next_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(maintenance, "FIRST_ROUND_SECONDS", 0.02)
    monkeypatch.setattr(maintenance, "ROUND_SECONDS", 0.02)
    run = maintenance.Maintenance.run
    rounds: list[int] = []

    def failing(self: maintenance.Maintenance, **how: bool) -> MaintenanceReport:
        rounds.append(1)
        if len(rounds) == 1:
            raise ZeroDivisionError
        return run(self, **how)

    monkeypatch.setattr(maintenance.Maintenance, "run", failing)
    with opened(tmp_path):
        deadline = time.monotonic() + 60
        while len(rounds) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert "a round of maintenance failed" in caplog.text


def test_close_waits_only_for_current_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "BATCH", 5)
    with opened(tmp_path, retention_seconds=0) as world:
        for number in range(200):
            world.tenant(f"t {number}")
            world.ops.perform(DeleteTenant(tenant=f"t-{number}"))
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
        left = len(world.ops.perform(ListTenants(deleted=True, limit=1000)).items)
        assert 0 < left < 200
        assert left % 5 == 0  # a batch is purged as a whole
        assert world.ops.perform(MaintainStores()).tenants_purged == left


@pytest.mark.parametrize("seconds", [-1, 100 * 365 * 24 * 3600 + 1, "a week"])
def test_invalid_retention_is_rejected(seconds: object) -> None:
    with pytest.raises(InvalidArgument) as caught:
        load(retention_seconds=seconds)
    assert caught.value.field == "retention_seconds"


def test_connections_to_one_directory_must_share_retention(world: World) -> None:
    with pytest.raises(InvalidArgument) as caught:
        open_local(world.directory, Settings(models_dir=world.settings.models_dir, default_model="hash"))
    assert caught.value.field == "retention_seconds"
