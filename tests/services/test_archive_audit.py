"""An archive of whole tenants leaves audit entries before its first byte is sent, and when it ends early."""

import io
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import akidb
from akidb.deployment import schema_changes
from akidb.deployment.local import restore_local
from akidb.domain.entities import AuditEntry
from akidb.domain.errors import NotFound
from akidb.domain.fields import CollectionPath
from akidb.domain.ids import TenantId
from akidb.observe import telemetry
from akidb.observe.context import RequestContext, bound
from akidb.operations.archives import CopyTenant, CreateBackup, ExportTenant, ImportTenant
from akidb.operations.documents import UpsertDocuments
from akidb.operations.tenants import CreateTenant, DeleteTenant, GetTenant
from akidb.services.archive_audit import TENANTS_AT_ONCE
from akidb.settings import Settings

from .worlds import World, notes

sys.path.insert(0, str(Path(__file__).parents[1]))

PATH = CollectionPath("aki-labs", "kb", "notes")
ACTIONS = ("tenant.export", "backup.create")


class Broken(io.BytesIO):
    """A sink that takes some bytes and then no more."""

    def __init__(self, room_bytes: int, error: BaseException) -> None:
        super().__init__()
        self._room_bytes, self._error = room_bytes, error

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > self._room_bytes:
            raise self._error
        return super().write(data)


def taken(world: World, tenant: TenantId | str) -> list[AuditEntry]:
    return [entry for entry in world.audit(tenant) if entry.action in {*ACTIONS, "tenant.copy"}]


def test_export_and_backup_leave_an_entry_with_the_caller(world: World) -> None:
    world.place()
    empty = world.tenant("Empty")
    gone = world.tenant("Gone")
    world.ops.perform(DeleteTenant(tenant="gone"))
    asked = RequestContext(request_id="r-1", ip_address="192.0.2.7", user_agent="curl/8")
    with bound(asked):
        world.ops.perform(ExportTenant(tenant="aki-labs"), sink=io.BytesIO())
        world.ops.perform(CreateBackup(), sink=io.BytesIO())
    export, backup = taken(world, "aki-labs")
    assert (export.action, backup.action) == ACTIONS
    for entry in (export, backup, *taken(world, empty.tenant_id), *taken(world, gone.tenant_id)):
        assert (entry.request_id, entry.ip_address, entry.user_agent) == ("r-1", "192.0.2.7", "curl/8")
        assert (entry.result, entry.reason, entry.resource_id) == ("allowed", None, str(entry.tenant_id))
    assert [entry.action for entry in taken(world, gone.tenant_id)] == ["backup.create"]
    assert [entry.action for entry in taken(world, "empty")] == ["backup.create"]


@pytest.mark.parametrize("error", [ValueError("a fault"), KeyboardInterrupt()])
@pytest.mark.parametrize("action", ACTIONS)
def test_archive_that_ends_early_is_recorded_with_what_was_sent(
    world: World, action: str, error: BaseException
) -> None:
    world.place()
    world.on(PATH, UpsertDocuments, documents=notes(*map(str, range(200))))
    whole = io.BytesIO()
    request: Any = CreateBackup() if action == "backup.create" else ExportTenant(tenant="aki-labs")
    world.ops.perform(request, sink=whole)
    for room_bytes in (0, len(whole.getvalue()) // 2):
        sink = Broken(room_bytes, error)
        before = taken(world, "aki-labs")
        with pytest.raises(type(error)):
            world.ops.perform(request, sink=sink)
        new = taken(world, "aki-labs")[len(before) :]
        if action == "backup.create" and room_bytes == 0:
            assert new == []  # not even the header was sent
            continue
        begun, ended = new
        assert (begun.action, begun.reason) == (action, None)
        assert (ended.action, ended.reason) == (action, "aborted")
        assert ended.metadata == {"code": "interrupted", "sent_bytes": sink.tell()}


def test_entry_is_committed_before_the_first_byte(world: World) -> None:
    world.place()
    seen = []

    class Watching(io.BytesIO):
        def write(self, data: Any) -> int:
            seen.append(len(taken(world, "aki-labs")))
            return super().write(data)

    world.ops.perform(ExportTenant(tenant="aki-labs"), sink=Watching())
    assert set(seen) == {1}


def test_export_and_copy_of_deleted_tenant_are_denied(world: World) -> None:
    world.place()
    tenant_id = world.ops.perform(GetTenant(tenant="aki-labs")).tenant_id
    world.ops.perform(DeleteTenant(tenant="aki-labs"))
    for reference in ("aki-labs", tenant_id):
        with pytest.raises(NotFound):
            world.ops.perform(ExportTenant(tenant=reference), sink=io.BytesIO())
        with pytest.raises(NotFound):
            world.ops.perform(CopyTenant(tenant=reference, slug="other"))
    found = [(entry.action, entry.result, entry.reason) for entry in taken(world, tenant_id)]
    assert found == [("tenant.export", "denied", "not_found"), ("tenant.copy", "denied", "not_found")] * 2


def test_copy_is_recorded_for_both_tenants(world: World) -> None:
    world.place()
    origin = world.ops.perform(GetTenant(tenant="aki-labs")).tenant_id
    branch = world.ops.perform(CopyTenant(tenant="aki-labs", slug="branch")).tenant_id
    assert [entry.resource_id for entry in taken(world, origin)] == [str(branch)]
    assert [entry.resource_id for entry in taken(world, branch)] == [str(origin)]


def test_backup_of_many_tenants_records_each_once(world: World) -> None:
    ids = [
        world.ops.perform(CreateTenant(name=f"T {number}")).tenant_id for number in range(TENANTS_AT_ONCE + 5)
    ]
    world.ops.perform(CreateBackup(), sink=io.BytesIO())
    for tenant_id in (ids[0], ids[TENANTS_AT_ONCE], ids[-1]):
        assert [entry.action for entry in world.audit(tenant_id)] == ["tenant.create", "backup.create"]


class Listener:
    def __init__(self) -> None:
        self.ended: list[tuple[str, str]] = []

    def begin(self, name: str) -> telemetry.End:
        return lambda _seconds, code: self.ended.append((name, code))

    def __getattr__(self, _: str) -> Any:  # the other events
        return lambda *_args, **_named: lambda *_more: None


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    telemetry.listen(listener)
    yield listener
    telemetry.leave(listener)


def test_restore_is_metered_and_recorded(world: World, tmp_path: Path, listener: Listener) -> None:
    world.place()
    tenant_id = world.ops.perform(GetTenant(tenant="aki-labs")).tenant_id
    archive = io.BytesIO()
    world.ops.perform(CreateBackup(), sink=archive)
    archive.seek(0)
    settings = Settings(models_dir=str(tmp_path), default_model="hash")
    with bound(RequestContext(request_id="r-9")):
        restore_local(tmp_path / "restored", settings, archive)
    assert ("backup.restore", "ok") in listener.ended
    with akidb.connect(tmp_path / "restored", models_dir=str(tmp_path), default_model="hash") as db:
        *_, backup, restored = db.tenants.get(tenant_id).audit()
    assert (backup.action, restored.action, restored.request_id) == ("backup.create", "backup.restore", "r-9")
    archive.seek(20)
    with pytest.raises(akidb.InvalidArgument):
        restore_local(tmp_path / "other", settings, archive)
    assert ("backup.restore", "invalid_argument") in listener.ended


def test_schema_migration_is_metered(tmp_path: Path, listener: Listener) -> None:
    schema_changes.migrate(tmp_path / "data", Settings(models_dir=str(tmp_path)))
    assert ("schema.migrate", "ok") in listener.ended


def test_import_is_recorded_here(world: World, tmp_path: Path) -> None:
    with akidb.connect(tmp_path / "there", models_dir=str(tmp_path), default_model="hash") as there:
        tenant = there.tenants.create("Moved")
        archive = io.BytesIO()
        tenant.export(archive)
        archive.seek(0)
        world.ops.perform(ImportTenant(), source=archive)
        assert [entry.action for entry in world.audit(tenant.id)] == ["tenant.import"]


@pytest.mark.parametrize("path", ["/v1/backup", "/v1/tenants/aki-labs/export"])
def test_client_that_leaves_is_recorded(path: str, tmp_path: Path) -> None:
    from api.running import threaded

    with (
        threaded(tmp_path / "data", models_dir=str(tmp_path), default_model="hash") as running,
        akidb.connect(running.url) as db,
    ):
        tenant = db.tenants.create("Aki Labs")
        kept = tenant.databases.create("kb").collections.create("notes", dimension=1024)
        vectors = np.random.default_rng(1).standard_normal((3000, 1024)).astype(np.float32)
        for start in range(0, len(vectors), 1000):  # 12 MB, more than the sockets' buffers take
            kept.upsert([{"id": str(n), "vector": vectors[n]} for n in range(start, start + 1000)])
        address = httpx.URL(running.url)
        with socket.create_connection((address.host, address.port)) as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            assert client.recv(4096).startswith(b"HTTP/1.1 200")

        def trail() -> list[AuditEntry]:
            return [each for each in tenant.audit() if each.action in ACTIONS]

        deadline = time.monotonic() + 60
        while len(trail()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        begun, ended = trail()
    assert (begun.reason, ended.reason) == (None, "aborted")
    assert ended.metadata["sent_bytes"] > 0
    assert begun.ip_address == "127.0.0.1"
    assert begun.request_id == ended.request_id
