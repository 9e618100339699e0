"""Audit entries of wrong passwords: the first of a minute one by one, the others as counts."""

from contextlib import suppress
from pathlib import Path

from akidb.deployment.local import open_local
from akidb.domain.entities import AuditEntry, AuditResult
from akidb.domain.errors import Unauthenticated
from akidb.operations import users as ask
from akidb.operations.audit import ListAuditEntries
from akidb.operations.declare import Operations
from akidb.operations.tenants import CreateTenant
from akidb.operations.upkeep import MaintainStores
from akidb.services.denials import ENTRIES_PER_WINDOW, WINDOW_SECONDS
from akidb.settings import Settings

from .worlds import World


def fail(operations: Operations, times: int, email: str = "bob@x", tenant: str = "aki-labs") -> None:
    for _ in range(times):
        with suppress(Unauthenticated):
            operations.perform(ask.VerifyPassword(tenant=tenant, email=email, password="wrong horse"))
            raise AssertionError("a wrong password was accepted")


def denied(operations: Operations, tenant: str = "aki-labs") -> list[AuditEntry]:
    entries = operations.perform(ListAuditEntries(tenant=tenant, limit=1000)).items
    return [entry for entry in entries if entry.result is AuditResult.DENIED]


def test_failures_beyond_the_first_are_written_as_counts_by_user(world: World) -> None:
    tenant, other = world.tenant(), world.tenant("Other")
    bob = world.ops.perform(ask.CreateUser(tenant="aki-labs", email="bob@x", password="right horse"))
    fail(world.ops, ENTRIES_PER_WINDOW - 1)
    fail(world.ops, 3, "nobody@x")
    fail(world.ops, 5)
    fail(world.ops, 1, tenant="other")  # whose entries are its own
    single = denied(world.ops)
    assert [entry.metadata for entry in single] == [{}] * ENTRIES_PER_WINDOW
    assert {entry.resource_id for entry in single} == {str(bob.user_id), str(tenant.tenant_id)}

    world.ops.perform(MaintainStores())
    counts = {entry.resource_id: entry.metadata for entry in denied(world.ops)[ENTRIES_PER_WINDOW:]}
    assert counts == {str(bob.user_id): {"count": 5}, str(tenant.tenant_id): {"count": 2}}
    assert [entry.resource_id for entry in denied(world.ops, "other")] == [str(other.tenant_id)]
    world.ops.perform(MaintainStores())
    assert len(denied(world.ops)) == ENTRIES_PER_WINDOW + 2


def test_right_password_is_accepted_and_recorded_among_counted_failures(world: World) -> None:
    world.tenant()
    world.ops.perform(ask.CreateUser(tenant="aki-labs", email="bob@x", password="right horse"))
    fail(world.ops, ENTRIES_PER_WINDOW + 1)
    world.ops.perform(ask.VerifyPassword(tenant="aki-labs", email="bob@x", password="right horse"))
    assert world.audit("aki-labs")[-1].result is AuditResult.ALLOWED


def test_next_minute_begins_with_entries_again(world: World) -> None:
    world.tenant()
    denials = world.ops._runtime.denials
    now = 0.0
    denials._monotonic = lambda: now
    fail(world.ops, ENTRIES_PER_WINDOW + 2)
    now = WINDOW_SECONDS
    fail(world.ops, 1)
    assert len(denied(world.ops)) == ENTRIES_PER_WINDOW + 1
    world.ops.perform(MaintainStores())
    assert [entry.metadata for entry in denied(world.ops)][-1] == {"count": 2}


def test_counts_are_written_on_closing(tmp_path: Path) -> None:
    settings = Settings(models_dir=str(tmp_path / "models"))
    operations = open_local(tmp_path / "data", settings)
    operations.perform(CreateTenant(name="Aki Labs"))
    fail(operations, ENTRIES_PER_WINDOW + 7)
    operations.close()
    operations = open_local(tmp_path / "data", settings)
    assert [entry.metadata for entry in denied(operations)][-1] == {"count": 7}
    operations.close()
