"""Idempotency keys: a repeated call has one effect, one audit entry, and the first answer."""

import threading
from collections.abc import Callable
from datetime import timedelta

import msgspec
import pytest

from akidb.deployment import local as runtime
from akidb.domain.errors import (
    AkiDBError,
    AlreadyExists,
    IdempotencyMismatch,
    InvalidArgument,
    QuotaExceeded,
    Unavailable,
)
from akidb.ports import wire
from akidb.ports.operations import CollectionChanges, CollectionPath, DatabaseChanges, TenantChanges
from akidb.services.store_access import StoreAccess
from akidb.sql.sqlite import SqliteFile

from .worlds import World, keyed, notes, on_files

PATH = CollectionPath("aki-labs", "kb", "notes")
Call = Callable[[World], object]

# Each with the same operation asked otherwise, and what must be done before it.
OPERATIONS: dict[str, tuple[Call, Call, list[Call]]] = {
    "tenants.create": (lambda w: w.tenant("New"), lambda w: w.tenant("Newer"), []),
    "tenants.update": (
        lambda w: w.ops.tenants.update("aki-labs", TenantChanges(name="B")),
        lambda w: w.ops.tenants.update("aki-labs", TenantChanges(name="C")),
        [],
    ),
    "tenants.suspend": (
        lambda w: w.ops.tenants.suspend("aki-labs", reason="x"),
        lambda w: w.ops.tenants.suspend("aki-labs", reason="y"),
        [],
    ),
    "tenants.activate": (
        lambda w: w.ops.tenants.activate("aki-labs"),
        lambda w: w.ops.tenants.activate("aki-labs", if_version=1),
        [lambda w: w.ops.tenants.suspend("aki-labs")],
    ),
    "tenants.delete": (
        lambda w: w.ops.tenants.delete("aki-labs"),
        lambda w: w.ops.tenants.delete("aki-labs", if_version=1),
        [],
    ),
    "tenants.restore": (
        lambda w: w.ops.tenants.restore("aki-labs"),
        lambda w: w.ops.tenants.restore("aki-labs", if_version=1),
        [lambda w: w.ops.tenants.delete("aki-labs")],
    ),
    "tenants.purge": (
        lambda w: w.ops.tenants.purge("aki-labs"),
        lambda w: w.ops.tenants.purge("aki-labs", if_version=1),
        [lambda w: w.ops.tenants.delete("aki-labs")],
    ),
    "databases.create": (
        lambda w: w.database(name="new"),
        lambda w: w.database(name="new", description="x"),
        [],
    ),
    "databases.update": (
        lambda w: w.ops.databases.update("aki-labs", "kb", DatabaseChanges(description="x")),
        lambda w: w.ops.databases.update("aki-labs", "kb", DatabaseChanges(description="y")),
        [],
    ),
    "databases.delete": (
        lambda w: w.ops.databases.delete("aki-labs", "kb"),
        lambda w: w.ops.databases.delete("aki-labs", "kb", if_version=1),
        [],
    ),
    "databases.restore": (
        lambda w: w.ops.databases.restore("aki-labs", "kb"),
        lambda w: w.ops.databases.restore("aki-labs", "kb", if_version=1),
        [lambda w: w.ops.databases.delete("aki-labs", "kb")],
    ),
    "databases.purge": (
        lambda w: w.ops.databases.purge("aki-labs", "kb"),
        lambda w: w.ops.databases.purge("aki-labs", "kb", if_version=1),
        [lambda w: w.ops.databases.delete("aki-labs", "kb")],
    ),
    "collections.create": (
        lambda w: w.collection(name="new"),
        lambda w: w.collection(name="new", dimension=17),
        [],
    ),
    "collections.update": (
        lambda w: w.ops.collections.update(*PATH, CollectionChanges(hnsw_m=4)),
        lambda w: w.ops.collections.update(*PATH, CollectionChanges(hnsw_m=5)),
        [],
    ),
    "collections.delete": (
        lambda w: w.ops.collections.delete(*PATH),
        lambda w: w.ops.collections.delete(*PATH, if_version=1),
        [],
    ),
    "collections.restore": (
        lambda w: w.ops.collections.restore(*PATH),
        lambda w: w.ops.collections.restore(*PATH, if_version=1),
        [lambda w: w.ops.collections.delete(*PATH)],
    ),
    "collections.purge": (
        lambda w: w.ops.collections.purge(*PATH),
        lambda w: w.ops.collections.purge(*PATH, if_version=1),
        [lambda w: w.ops.collections.delete(*PATH)],
    ),
    "documents.upsert": (
        lambda w: w.ops.documents.upsert(PATH, [{"text": "x", "vector": [1.0] * 16}]),
        lambda w: w.ops.documents.upsert(PATH, [{"text": "y", "vector": [1.0] * 16}]),
        [],
    ),
    "documents.update": (
        lambda w: w.ops.documents.update(PATH, {"x": 1}, ids=["a"]),
        lambda w: w.ops.documents.update(PATH, {"x": 2}, ids=["a"]),
        [],
    ),
    "documents.delete": (
        lambda w: w.ops.documents.delete(PATH, ids=["a"]),
        lambda w: w.ops.documents.delete(PATH, ids=["b"]),
        [],
    ),
}
EACH = pytest.mark.parametrize(("call", "otherwise", "before"), OPERATIONS.values(), ids=OPERATIONS)


@pytest.fixture
def world(world: World) -> World:
    world.place()
    world.ops.documents.upsert(PATH, notes("a", "b", "c"))
    return world


def snapshot(world: World, tenant_id: object) -> bytes:
    """All that is stored, but what only reading changes."""
    found: list[object] = []
    for deleted in (False, True):
        for tenant in world.ops.tenants.list(deleted=deleted).items:
            found += [tenant, world.audit(tenant.tenant_id)]
            if not deleted:
                found += [world.ops.tenants.usage(tenant.tenant_id)]
                for hidden in (False, True):
                    databases = world.ops.databases.list(tenant.tenant_id, deleted=hidden).items
                    found += databases
                    if not hidden:
                        found += [
                            world.ops.collections.list(tenant.tenant_id, d.database_id, deleted=gone).items
                            for d in databases
                            for gone in (False, True)
                        ]
    found.append(world.audit(str(tenant_id)))
    return wire.encode(found)


@EACH
@pytest.mark.parametrize("restarted", [False, True], ids=["at once", "after a restart"])
def test_a_repeated_call_has_one_effect_and_the_first_answer(
    world: World, call: Call, otherwise: Call, before: list[Call], restarted: bool
) -> None:
    tenant_id = world.ops.tenants.get("aki-labs").tenant_id
    for step in before:
        step(world)
    with keyed(idempotency_key="k1"):
        first = call(world)
    after = snapshot(world, tenant_id)
    if restarted:
        world.reopen()
    with keyed(idempotency_key="k1"):
        again = call(world)
    assert msgspec.to_builtins(again, enc_hook=wire.enc_hook) == msgspec.to_builtins(
        first, enc_hook=wire.enc_hook
    )
    assert type(again) is type(first)
    after_again = snapshot(world, tenant_id)
    assert without_memory(after_again) == without_memory(after)
    assert all(finding.ok for finding in world.ops.doctor())


def without_memory(found: bytes) -> list[object]:
    """What is kept in memory is gone after a restart."""
    values: list[object] = msgspec.json.decode(found)
    for value in values:
        if isinstance(value, dict):
            value.pop("memory_bytes", None)
    return values


@EACH
def test_a_key_used_for_another_request_is_a_mismatch(
    world: World, call: Call, otherwise: Call, before: list[Call]
) -> None:
    tenant_id = world.ops.tenants.get("aki-labs").tenant_id
    for step in before:
        step(world)
    with keyed(idempotency_key="k1"):
        call(world)
    after = snapshot(world, tenant_id)
    with keyed(idempotency_key="k1"), pytest.raises(IdempotencyMismatch):
        otherwise(world)
    assert snapshot(world, tenant_id) == after


@on_files
def test_a_repeated_call_tells_the_store_what_the_first_could_not(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is committed and fails on its way to the tenant's store."""

    def fail(_self: StoreAccess, _tenant_id: object) -> None:
        raise Unavailable("not now")

    tenant = world.ops.tenants.get("aki-labs")
    for ask, told in (
        (lambda: world.ops.tenants.suspend("aki-labs"), "suspended"),
        (lambda: world.ops.tenants.delete("aki-labs"), "decommissioned"),
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


def test_another_key_is_another_request(world: World) -> None:
    for key in ("k1", "k2"):
        with keyed(idempotency_key=key):
            world.ops.documents.upsert(PATH, [{"text": "x", "vector": [1.0] * 16}])
    assert world.ops.documents.count(PATH) == 5
    with keyed(idempotency_key="k1"):
        world.tenant("New")
    with keyed(idempotency_key="k2"), pytest.raises(AlreadyExists):
        world.tenant("New")


def test_the_order_of_the_keys_of_an_object_makes_no_other_request(world: World) -> None:
    path = world.place("Other")
    with keyed(idempotency_key="k1"):
        first = world.ops.documents.upsert(path, [{"id": "a", "text": None, "vector": [1.0] * 16}])
    with keyed(idempotency_key="k1"):
        again = world.ops.documents.upsert(path, [{"vector": [1.0] * 16, "text": None, "id": "a"}])
    assert again == first


def test_one_key_may_serve_several_paths(world: World) -> None:
    world.collection(name="other")
    with keyed(idempotency_key="k1"):
        for path in (PATH, PATH._replace(collection="other")):
            assert world.ops.documents.upsert(path, notes("z")).ids == ["z"]
            assert world.ops.documents.delete(path, ids=["z"]) == 1
    assert world.ops.documents.count(PATH) == 3


def test_without_a_key_nothing_is_remembered(world: World) -> None:
    for _ in range(2):
        world.ops.documents.upsert(PATH, [{"text": "x", "vector": [1.0] * 16}])
    assert world.ops.documents.count(PATH) == 5


def test_a_failure_is_not_remembered(world: World) -> None:
    with keyed(idempotency_key="k1"):
        with pytest.raises(InvalidArgument):
            world.ops.documents.upsert(PATH, notes("x", vector=[1.0]))
        world.ops.tenants.update("aki-labs", TenantChanges(storage_quota_bytes=0))
        with pytest.raises(QuotaExceeded):
            world.ops.documents.upsert(PATH, notes("x"))
    world.ops.tenants.update("aki-labs", TenantChanges(storage_quota_bytes=10**6))
    with keyed(idempotency_key="k1"):
        assert world.ops.documents.upsert(PATH, notes("x")).ids == ["x"]
    assert world.ops.documents.count(PATH) == 4


def test_a_key_in_flight_is_waited_for(world: World) -> None:
    """Eight threads ask the same with one key: one effect, eight equal answers."""
    answers: list[object] = []
    failures: list[AkiDBError] = []
    start = threading.Barrier(8)

    def ask() -> None:
        start.wait()
        try:
            with keyed(idempotency_key="k1"):
                made = world.tenant("New")
                ids = world.ops.documents.upsert(PATH, [{"text": "x", "vector": [1.0] * 16}]).ids
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
    assert world.ops.documents.count(PATH) == 4


def test_a_key_is_forgotten_after_a_day(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with keyed(idempotency_key="k1"):
        first = world.tenant("New")
        ids = world.ops.documents.upsert(PATH, [{"vector": [1.0] * 16}]).ids
    now = runtime._now()
    for hours, remembered in ((23.9, True), (24.1, False)):
        monkeypatch.setattr(runtime, "_now", lambda hours=hours: now + timedelta(hours=hours))
        world.reopen()
        with keyed(idempotency_key="k1"):
            assert (world.ops.documents.upsert(PATH, [{"vector": [1.0] * 16}]).ids == ids) is remembered
            if remembered:
                assert world.tenant("New") == first
            else:
                with pytest.raises(AlreadyExists):
                    world.tenant("New")


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "a\n", "\0"])
def test_a_wrong_key_is_refused(key: str) -> None:
    with pytest.raises(InvalidArgument) as caught, keyed(idempotency_key=key):
        pytest.fail("it was taken")
    assert caught.value.field == "idempotency_key"


@pytest.mark.parametrize("reference", ["\ud800", "a\0", "x" * 300, "../x"])
def test_what_can_be_no_name_is_refused_with_a_key_as_without(world: World, reference: str) -> None:
    for context in (keyed(), keyed(idempotency_key="k1")):
        with context, pytest.raises(InvalidArgument) as caught:
            world.ops.databases.update("aki-labs", reference, DatabaseChanges(name="x"))
        assert caught.value.field == "database"


def test_purging_a_collection_forgets_its_answers_and_no_others(world: World) -> None:
    world.collection(name="doomed")
    doomed = CollectionPath("aki-labs", "kb", "doomed")
    for path in (PATH, doomed):
        with keyed(idempotency_key="k"):
            world.ops.documents.upsert(path, notes("a"))
    world.ops.collections.delete(*doomed)
    world.ops.collections.purge(*doomed)
    world.ops.documents.delete(PATH, ids=["a"])
    with keyed(idempotency_key="k"):
        world.ops.documents.upsert(PATH, notes("a"))
    assert world.ops.documents.get(PATH, ["a"]) == []
    world.collection(name="doomed")
    with keyed(idempotency_key="k"):
        world.ops.documents.upsert(doomed, notes("a"))
    assert len(world.ops.documents.get(doomed, ["a"])) == 1


def test_a_repeated_request_embeds_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    path = world.place("Texts", embedding_model="hash")
    with keyed(idempotency_key="k"):
        first = world.ops.documents.upsert(path, [{"text": "hello"}])

    def refuse(*_: object) -> None:
        raise AssertionError("it was embedded again")

    monkeypatch.setattr("akidb.services.embeddings.EmbeddingService.embed_for", refuse)
    with keyed(idempotency_key="k"):
        again = world.ops.documents.upsert(path, [{"text": "hello"}])
    assert again.ids == first.ids
    assert world.ops.documents.count(path) == 1
