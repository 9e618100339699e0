"""Idempotency keys: a repeated call has one effect, one audit entry, and the first answer."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from akidb.domain.errors import (
    AkiDBError,
    AlreadyExists,
    IdempotencyMismatch,
    InvalidArgument,
    QuotaExceeded,
    Unavailable,
)
from akidb.domain.fields import CollectionPath
from akidb.operations import OPERATIONS, Request
from akidb.operations.archives import CopyTenant
from akidb.operations.collections import (
    CreateCollection,
    DeleteCollection,
    ListCollections,
    PurgeCollection,
    RestoreCollection,
    UpdateCollection,
)
from akidb.operations.databases import (
    CreateDatabase,
    DeleteDatabase,
    ListDatabases,
    PurgeDatabase,
    RestoreDatabase,
    UpdateDatabase,
)
from akidb.operations.documents import (
    ClearDocuments,
    CountDocuments,
    DeleteDocuments,
    GetDocuments,
    UpdateDocuments,
    UpsertDocuments,
)
from akidb.operations.tenants import (
    ActivateTenant,
    CreateTenant,
    DeleteTenant,
    GetTenant,
    GetUsage,
    ListTenants,
    PurgeTenant,
    RestoreTenant,
    SuspendTenant,
    UpdateTenant,
)
from akidb.operations.upkeep import CheckStores
from akidb.operations.users import (
    ActivateUser,
    CreateUser,
    DeactivateUser,
    DeleteUser,
    ListUsers,
    SuspendUser,
    UpdateUser,
)
from akidb.ports import wire
from akidb.services.store_access import StoreAccess
from akidb.sql.sqlite import SqliteFile
from clocks import SetClock

from .worlds import World, keyed, notes, on_files

PATH = CollectionPath("aki-labs", "kb", "notes")
NOTES: dict[str, Any] = PATH._asdict()
KB: dict[str, Any] = {"tenant": "aki-labs", "database": "kb"}
TENANT: dict[str, Any] = {"tenant": "aki-labs"}
BOB: dict[str, Any] = {**TENANT, "user": "bob@x"}
VECTOR = [1.0] * 16
SECRET = "correct horse"
Case = tuple[Request[Any], dict[str, Any], list[Request[Any]]]
"""A request, what is said otherwise in another one, and what must be done before them."""


def life(path: dict[str, Any], *requests: type[Request[Any]]) -> Iterator[Case]:
    """How things go and come back: by a delete, a restore and a purge."""
    delete, restore, purge = requests
    yield delete(**path), {"if_version": 1}, []
    yield restore(**path), {"if_version": 1}, [delete(**path)]
    yield purge(**path), {"if_version": 1}, [delete(**path)]


CASES: list[Case] = [
    (CreateTenant(name="New"), {"name": "Newer"}, []),
    (UpdateTenant(**TENANT, name="B"), {"name": "C"}, []),
    (SuspendTenant(**TENANT, reason="x"), {"reason": "y"}, []),
    (ActivateTenant(**TENANT), {"if_version": 1}, [SuspendTenant(**TENANT)]),
    *life(TENANT, DeleteTenant, RestoreTenant, PurgeTenant),
    (CreateDatabase(**TENANT, name="new"), {"description": "x"}, []),
    (UpdateDatabase(**KB, description="x"), {"description": "y"}, []),
    *life(KB, DeleteDatabase, RestoreDatabase, PurgeDatabase),
    (CreateCollection(**KB, name="new", dimension=16), {"dimension": 17}, []),
    (UpdateCollection(**NOTES, hnsw_m=4), {"hnsw_m": 5}, []),
    *life(NOTES, DeleteCollection, RestoreCollection, PurgeCollection),
    (UpsertDocuments(**NOTES, documents=[{"text": "x", "vector": VECTOR}]), {"documents": notes("y")}, []),
    (UpdateDocuments(**NOTES, metadata={"x": 1}, ids=["a"]), {"metadata": {"x": 2}}, []),
    (UpdateDocuments(**NOTES, metadata={"x": 1}, filter={"$id": "a"}), {"filter": {"$id": "b"}}, []),
    (DeleteDocuments(**NOTES, ids=["a"]), {"ids": ["b"]}, []),
    (DeleteDocuments(**NOTES, filter={"$id": "a"}), {"filter": {"$id": "b"}}, []),
    (ClearDocuments(**NOTES), {}, []),
    (CreateUser(**TENANT, email="new@x", password=SECRET), {"password": "another horse"}, []),
    (UpdateUser(**BOB, password=SECRET), {"password": "another horse"}, []),
    (SuspendUser(**BOB), {"if_version": 1}, []),
    (DeactivateUser(**BOB), {"if_version": 1}, []),
    (ActivateUser(**BOB), {"if_version": 1}, [SuspendUser(**BOB)]),
    (DeleteUser(**BOB), {"if_version": 1}, []),
    (CopyTenant(**TENANT, slug="copy"), {"name": "Copy"}, []),
]
ELSEWHERE = {
    "tenant.import": "what else it must agree in is the archive: test_archive_tenants.py",
    "model.pull": "it leaves a model that is installed as it is",
    "migration.v1_to_v2": "it is asked by no server, and a manifest that is there is left as it is",
    "migration.v2_to_v1": "it is asked by no server, and its directory must be empty",
}
"""Operations that change something and are not tried here, and why."""
NAMES = [f"{OPERATIONS[type(request)].name}-{'-'.join(fields)}" for request, fields, _ in CASES]
EACH = pytest.mark.parametrize(("request_", "otherwise", "before"), CASES, ids=NAMES)
EACH_WITH_FIELDS = pytest.mark.parametrize(
    ("request_", "otherwise", "before"),
    [case for case in CASES if case[1]],
    ids=[name for name, case in zip(NAMES, CASES, strict=True) if case[1]],
)


def test_every_mutating_operation_is_covered() -> None:
    tried = {OPERATIONS[type(request)].name for request, _, _ in CASES}
    assert sorted([*tried, *ELSEWHERE]) == sorted(row.name for row in OPERATIONS.values() if row.changes)


@pytest.fixture
def world(world: World) -> World:
    world.place()
    world.on(PATH, UpsertDocuments, documents=notes("a", "b", "c"))
    world.ops.perform(CreateUser(tenant="aki-labs", email="bob@x", password="first horse"))
    return world


def snapshot(world: World, tenant_id: object) -> bytes:
    """All that is stored, but what only reading changes."""
    perform = world.ops.perform
    found: list[object] = [*perform(ListTenants(deleted=True)).items]
    for tenant in perform(ListTenants()).items:
        here = tenant.tenant_id
        found += [tenant, perform(GetUsage(tenant=here)), *perform(ListUsers(tenant=here)).items]
        databases = perform(ListDatabases(tenant=here)).items
        found += [*databases, *perform(ListDatabases(tenant=here, deleted=True)).items]
        for database in databases:
            for deleted in (False, True):
                listed = ListCollections(tenant=here, database=database.database_id, deleted=deleted)
                found += perform(listed).items
    for each in perform(ListTenants()).items + perform(ListTenants(deleted=True)).items:
        found += world.audit(each.tenant_id)
    found.append(world.audit(str(tenant_id)))
    return wire.encode(found)


@EACH
@pytest.mark.parametrize("restarted", [False, True], ids=["at once", "after a restart"])
def test_repeated_call_has_one_effect_and_returns_first_response(
    world: World,
    request_: Request[Any],
    otherwise: dict[str, Any],
    before: list[Request[Any]],
    restarted: bool,
) -> None:
    tenant_id = world.ops.perform(GetTenant(tenant="aki-labs")).tenant_id
    for step in before:
        world.ops.perform(step)
    with keyed(idempotency_key="k1"):
        first = world.ops.perform(request_)
    after = snapshot(world, tenant_id)
    if restarted:
        world.reopen()
    with keyed(idempotency_key="k1"):
        again = world.ops.perform(request_)
    assert msgspec.to_builtins(again, enc_hook=wire.enc_hook) == msgspec.to_builtins(
        first, enc_hook=wire.enc_hook
    )
    assert type(again) is type(first)
    after_again = snapshot(world, tenant_id)
    assert without_memory(after_again) == without_memory(after)
    assert all(finding.ok for finding in world.ops.perform(CheckStores()).items)


def without_memory(found: bytes) -> list[object]:
    """What is kept in memory is gone after a restart."""
    values: list[object] = msgspec.json.decode(found)
    for value in values:
        if isinstance(value, dict):
            value.pop("memory_bytes", None)
    return values


@EACH_WITH_FIELDS
def test_key_reused_for_different_request_is_a_mismatch(
    world: World, request_: Request[Any], otherwise: dict[str, Any], before: list[Request[Any]]
) -> None:
    tenant_id = world.ops.perform(GetTenant(tenant="aki-labs")).tenant_id
    for step in before:
        world.ops.perform(step)
    with keyed(idempotency_key="k1"):
        world.ops.perform(request_)
    after = snapshot(world, tenant_id)
    with keyed(idempotency_key="k1"), pytest.raises(IdempotencyMismatch):
        world.ops.perform(replace(request_, **otherwise))
    assert snapshot(world, tenant_id) == after


@on_files
def test_repeated_call_applies_pending_change_of_first_call_to_store(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is committed and fails on its way to the tenant's store."""

    def fail(_self: StoreAccess, _tenant_id: object) -> None:
        raise Unavailable("not now")

    tenant = world.ops.perform(GetTenant(tenant="aki-labs"))
    for ask, told in (
        (lambda: world.ops.perform(SuspendTenant(tenant="aki-labs")), "suspended"),
        (lambda: world.ops.perform(DeleteTenant(tenant="aki-labs")), "decommissioned"),
    ):
        with keyed(idempotency_key=told):
            with monkeypatch.context() as patched:
                patched.setattr(StoreAccess, "apply_pending", fail)
                with pytest.raises(Unavailable, match="not now"):
                    ask()
            ask()
        file = SqliteFile(world.store_file(tenant))
        with file.read() as connection:
            assert connection.exec_driver_sql("SELECT tenant_status FROM control").scalar_one() == told
        file.close()


def test_different_key_is_a_different_request(world: World) -> None:
    for key in ("k1", "k2"):
        with keyed(idempotency_key=key):
            world.on(PATH, UpsertDocuments, documents=[{"text": "x", "vector": [1.0] * 16}])
    assert world.on(PATH, CountDocuments) == 5
    with keyed(idempotency_key="k1"):
        world.tenant("New")
    with keyed(idempotency_key="k2"), pytest.raises(AlreadyExists):
        world.tenant("New")


def test_object_key_order_does_not_change_request_hash(world: World) -> None:
    path = world.place("Other")
    with keyed(idempotency_key="k1"):
        first = world.on(path, UpsertDocuments, documents=[{"id": "a", "text": None, "vector": [1.0] * 16}])
    with keyed(idempotency_key="k1"):
        again = world.on(path, UpsertDocuments, documents=[{"vector": [1.0] * 16, "text": None, "id": "a"}])
    assert again == first


def test_same_key_may_be_used_for_several_paths(world: World) -> None:
    world.collection(name="other")
    with keyed(idempotency_key="k1"):
        for path in (PATH, PATH._replace(collection="other")):
            assert world.on(path, UpsertDocuments, documents=notes("z")).ids == ["z"]
            assert world.on(path, DeleteDocuments, ids=["z"]) == 1
    assert world.on(PATH, CountDocuments) == 3


def test_no_response_is_stored_without_key(world: World) -> None:
    for _ in range(2):
        world.on(PATH, UpsertDocuments, documents=[{"text": "x", "vector": [1.0] * 16}])
    assert world.on(PATH, CountDocuments) == 5


def test_failure_is_not_stored(world: World) -> None:
    with keyed(idempotency_key="k1"):
        with pytest.raises(InvalidArgument):
            world.on(PATH, UpsertDocuments, documents=notes("x", vector=[1.0]))
        world.ops.perform(UpdateTenant(tenant="aki-labs", storage_quota_bytes=0))
        with pytest.raises(QuotaExceeded):
            world.on(PATH, UpsertDocuments, documents=notes("x"))
    world.ops.perform(UpdateTenant(tenant="aki-labs", storage_quota_bytes=10**6))
    with keyed(idempotency_key="k1"):
        assert world.on(PATH, UpsertDocuments, documents=notes("x")).ids == ["x"]
    assert world.on(PATH, CountDocuments) == 4


def test_concurrent_calls_with_same_key_wait_for_first(world: World) -> None:
    """Eight threads ask the same with one key: one effect, eight equal answers."""
    answers: list[object] = []
    failures: list[AkiDBError] = []
    start = threading.Barrier(8)

    def ask() -> None:
        start.wait()
        try:
            with keyed(idempotency_key="k1"):
                made = world.tenant("New")
                ids = world.on(PATH, UpsertDocuments, documents=[{"text": "x", "vector": [1.0] * 16}]).ids
            answers.append((made, tuple(ids)))
        except AkiDBError as error:
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(answers) == 8
    assert all(answer == answers[0] for answer in answers)
    assert world.on(PATH, CountDocuments) == 4


def test_key_expires_after_one_day(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with keyed(idempotency_key="k1"):
        first = world.tenant("New")
        ids = world.on(PATH, UpsertDocuments, documents=[{"vector": [1.0] * 16}]).ids
    now = datetime.now(UTC)
    for hours, remembered in ((23.9, True), (24.1, False)):
        SetClock(now + timedelta(hours=hours)).install(monkeypatch)
        world.reopen()
        with keyed(idempotency_key="k1"):
            assert (
                world.on(PATH, UpsertDocuments, documents=[{"vector": [1.0] * 16}]).ids == ids
            ) is remembered
            if remembered:
                assert world.tenant("New") == first
            else:
                with pytest.raises(AlreadyExists):
                    world.tenant("New")


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "a\n", "\0"])
def test_invalid_key_is_rejected(key: str) -> None:
    with pytest.raises(InvalidArgument) as caught, keyed(idempotency_key=key):
        pytest.fail("it was taken")
    assert caught.value.field == "idempotency_key"


@pytest.mark.parametrize("reference", ["\ud800", "a\0", "x" * 300, "../x"])
def test_invalid_name_is_rejected_with_and_without_key(world: World, reference: str) -> None:
    for context in (keyed(), keyed(idempotency_key="k1")):
        with context, pytest.raises(InvalidArgument) as caught:
            world.ops.perform(UpdateDatabase(tenant="aki-labs", database=reference, name="x"))
        assert caught.value.field == "database"


def test_purge_of_collection_removes_only_its_stored_responses(world: World) -> None:
    world.collection(name="doomed")
    doomed = CollectionPath("aki-labs", "kb", "doomed")
    for path in (PATH, doomed):
        with keyed(idempotency_key="k"):
            world.on(path, UpsertDocuments, documents=notes("a"))
    world.on(doomed, DeleteCollection)
    world.on(doomed, PurgeCollection)
    world.on(PATH, DeleteDocuments, ids=["a"])
    with keyed(idempotency_key="k"):
        world.on(PATH, UpsertDocuments, documents=notes("a"))
    assert world.on(PATH, GetDocuments, ids=["a"]) == []
    world.collection(name="doomed")
    with keyed(idempotency_key="k"):
        world.on(doomed, UpsertDocuments, documents=notes("a"))
    assert len(world.on(doomed, GetDocuments, ids=["a"])) == 1


def test_repeated_request_does_not_embed_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    path = world.place("Texts", embedding_model="hash")
    with keyed(idempotency_key="k"):
        first = world.on(path, UpsertDocuments, documents=[{"text": "hello"}])

    def refuse(*_: object) -> None:
        raise AssertionError("it was embedded again")

    monkeypatch.setattr("akidb.services.embeddings.EmbeddingService.embed_for", refuse)
    with keyed(idempotency_key="k"):
        again = world.on(path, UpsertDocuments, documents=[{"text": "hello"}])
    assert again.ids == first.ids
    assert world.on(path, CountDocuments) == 1
