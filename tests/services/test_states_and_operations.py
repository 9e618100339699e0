"""Every service method against every state: it does what the published table says, and no more."""

import io
from typing import Any, NamedTuple

import pytest

from akidb.domain.errors import InvalidState, NotFound, Unauthenticated
from akidb.domain.lifecycle import (
    ENTITY_OF,
    PERMITTED,
    Access,
    CollectionState,
    DatabaseState,
    State,
    TenantStatus,
    UserStatus,
)
from akidb.ports.metadata import MetadataTransaction
from akidb.ports.operations import CollectionChanges, CollectionPath, DatabaseChanges, TenantChanges
from akidb.ports.users import UserChanges

from .worlds import World, notes, vector_of

T, D, C, U = TenantStatus, DatabaseState, CollectionState, UserStatus
KINDS = (T, D, C, U)
PATH = CollectionPath("aki-labs", "kb", "notes")
SECRET = "correct horse"


class Call(NamedTuple):
    """A method of a service, and what it is in the table."""

    method: str
    operation: Access
    path: tuple[type[State], ...]
    """Whose states it must pass."""
    arguments: tuple[Any, ...]
    options: dict[str, Any]

    def __call__(self, world: World) -> object:
        service, _, name = self.method.partition(".")
        return getattr(getattr(world.ops, service), name)(*self.arguments, **self.options)


def _metadata(
    method: str, operation: Access, path: tuple[type[State], ...], *given: Any, **more: Any
) -> Call:
    return Call(method, operation, path, ("aki-labs", *given), more)


def _documents(method: str, operation: Access, *given: Any, **more: Any) -> Call:
    return Call(f"documents.{method}", operation, (T, D, C), (PATH, *given), more)


READ, WRITE = Access.METADATA_READ, Access.METADATA_WRITE
CALLS = [
    _metadata("tenants.usage", READ, (T,)),
    _metadata("tenants.update", WRITE, (T,), TenantChanges(name="New name")),
    _metadata("databases.get", READ, (T,), "kb"),
    _metadata("databases.list", READ, (T,)),
    _metadata("databases.count", READ, (T,)),
    _metadata("databases.create", WRITE, (T,), "new"),
    _metadata("databases.update", WRITE, (T, D), "kb", DatabaseChanges(description="new")),
    _metadata("databases.delete", WRITE, (T,), "spare"),
    _metadata("databases.restore", WRITE, (T,), "gone"),
    _metadata("databases.purge", WRITE, (T,), "doomed"),
    _metadata("collections.get", READ, (T, D), "kb", "notes"),
    _metadata("collections.list", READ, (T, D), "kb"),
    _metadata("collections.count", READ, (T, D), "kb"),
    _metadata("collections.create", WRITE, (T, D), "kb", "new", dimension=16),
    _metadata("collections.update", WRITE, (T, D, C), "kb", "notes", CollectionChanges(hnsw_m=5)),
    _metadata("collections.delete", WRITE, (T, D), "kb", "spare"),
    _metadata("collections.restore", WRITE, (T, D), "kb", "gone"),
    _metadata("collections.purge", WRITE, (T, D), "kb", "doomed"),
    _metadata("users.get", READ, (T,), "bob@x"),
    _metadata("users.list", READ, (T,)),
    _metadata("users.count", READ, (T,)),
    _metadata("users.verify_password", READ, (T,), "al@x", SECRET),
    _metadata("users.create", WRITE, (T,), "new@x", password=SECRET),
    _metadata("users.update", WRITE, (T,), "bob@x", UserChanges(password="another horse")),
    _metadata("users.suspend", WRITE, (T,), "spare@x"),
    _metadata("users.activate", WRITE, (T,), "spare@x"),
    _metadata("users.deactivate", WRITE, (T,), "spare@x"),
    _metadata("users.delete", WRITE, (T,), "spare@x"),
    _metadata("audit.list", Access.AUDIT_READ, (T,)),
    _metadata("changes.watch_tenant", READ, (T,), since=0, feed=None, limit=10),
    _metadata("archives.export", READ, (T,), io.BytesIO()),
    _metadata("archives.copy", READ, (T,), "copied"),
    _documents("get", Access.DOCUMENT_READ, ["a"]),
    _documents("scan", Access.DOCUMENT_READ),
    _documents("count", Access.DOCUMENT_READ),
    _documents("search", Access.DOCUMENT_READ, vector=vector_of("question")),
    Call(
        "changes.watch_collection",
        Access.DOCUMENT_READ,
        (T, D, C),
        (PATH,),
        {"since": 0, "feed": None, "limit": 10, "include": ()},
    ),
    _documents("upsert", Access.DOCUMENT_WRITE, notes("b")),
    _documents("update", Access.DOCUMENT_WRITE, {"x": 1}, ids=["a"]),
    _documents("delete", Access.DOCUMENT_WRITE, ids=["b"]),
]
OUTSIDE = {
    **dict.fromkeys(("tenants.create", "tenants.list", "tenants.count"), "there is no tenant above a tenant"),
    "tenants.get": "it shows the state that stops the others",
    **dict.fromkeys(
        [f"tenants.{verb}" for verb in ("activate", "suspend", "delete", "restore", "purge")],
        "they follow the table of moves",
    ),
    "embeddings.embed": "it is asked of no tenant",
    "archives.backup": "it is asked of all tenants",
    "archives.import_": "it is asked of no tenant",
}
"""Methods that no state stops in this way, and why."""


SERVICES = (
    *("tenants", "databases", "collections", "users", "documents"),
    *("embeddings", "audit", "changes", "archives"),
)


def test_every_method_stands_in_the_table_once(world: World) -> None:
    methods = {
        f"{service}.{name}"
        for service in SERVICES
        for name, method in vars(type(getattr(world.ops, service))).items()
        if hasattr(method, "__wrapped__") and not name.startswith("_")
    }
    assert sorted([call.method for call in CALLS] + list(OUTSIDE)) == sorted(methods)


@pytest.fixture
def world(world: World) -> World:
    """A tenant in which all of the calls work while everything is in its first state."""
    world.place()
    world.ops.documents.upsert(PATH, notes("a", "b"))
    for name in ("spare", "gone", "doomed"):
        world.database("aki-labs", name)
        world.collection("aki-labs", "kb", name)
    for name in ("gone", "doomed"):
        world.ops.collections.delete("aki-labs", "kb", name)
        world.ops.databases.delete("aki-labs", name)
    for email in ("bob@x", "al@x", "spare@x"):
        world.ops.users.create("aki-labs", email, password=SECRET)
    return world


def put(world: World, state: State) -> None:
    """Bring what is of the state's kind into the state, past the services where they cannot."""
    if state is T.DECOMMISSIONED:
        world.ops.tenants.delete("aki-labs")
    elif state is D.DELETING:
        world.ops.databases.delete("aki-labs", "kb")
    elif state is C.DELETING:
        world.ops.collections.delete(*PATH)
    else:
        with world.ops._runtime.metadata.transaction() as tx:
            _set(tx, state)


def _set(tx: MetadataTransaction, state: State) -> None:
    tenant = tx.tenants.get("aki-labs")
    now, tenant_id = tenant.updated_at, tenant.tenant_id
    database = tx.databases.get(tenant_id, "kb")
    if isinstance(state, TenantStatus):
        tx.tenants.update(tenant.changed(now, status=state))
    elif isinstance(state, DatabaseState):
        tx.databases.update(database.changed(now, state=state))
    elif isinstance(state, CollectionState):
        collection = tx.collections.get(tenant_id, database.database_id, "notes")
        tx.collections.update(collection.changed(now, state=state))
    else:
        for email in ("bob@x", "al@x"):
            tx.users.update(tx.users.get(tenant_id, email).changed(now, status=state))


def outcome(call: Call, world: World) -> tuple[Any, ...]:
    """What a call comes to, as far as states are concerned."""
    try:
        call(world)
    except InvalidState as error:
        return "stopped", error.fields
    except NotFound as error:
        return "not found", error.fields["entity"]
    except Unauthenticated:
        return ("not let in",)
    return ("done",)


def expected(call: Call, state: State) -> tuple[Any, ...]:
    kind = type(state)
    permitted = PERMITTED[kind][state]
    if kind is U:
        asks = call.method == "users.verify_password"
        return ("not let in",) if asks and not permitted else ("done",)
    named = {T: True, D: "kb" in call.arguments or PATH in call.arguments, C: kind in call.path}[kind]
    if state in (T.DECOMMISSIONED, D.DELETING, C.DELETING):
        named = named or (kind is C and "notes" in call.arguments)
        return ("not found", ENTITY_OF[kind]) if named else ("done",)
    if kind in call.path and call.operation not in permitted:
        return "stopped", {
            "entity": ENTITY_OF[kind],
            "state": state,
            "operation": call.operation,
            "allowed": sorted(permitted),
        }
    return ("done",)


@pytest.mark.parametrize(
    "state", [state for kind in KINDS for state in kind], ids=lambda s: f"{ENTITY_OF[type(s)]}-{s}"
)
def test_each_state_stops_what_the_table_says_and_nothing_else(world: World, state: State) -> None:
    put(world, state)
    for call in CALLS:
        assert outcome(call, world) == expected(call, state), call.method


@pytest.mark.parametrize("operation", Access)
@pytest.mark.parametrize("kind", [T, D, C])
def test_the_table_is_what_the_methods_read(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: type[State], operation: Access
) -> None:
    """An operation taken out of the table is stopped everywhere, also where no state stops it today."""
    first: Any = {T: T.ACTIVE, D: D.READY, C: C.READY}[kind]
    permitted: Any = PERMITTED[kind]
    monkeypatch.setitem(permitted, first, permitted[first] - {operation})
    for call in CALLS:
        stopped = call.operation is operation and kind in call.path
        assert (outcome(call, world)[0] == "stopped") is stopped, call.method


def test_what_is_stopped_changes_nothing(world: World) -> None:
    put(world, T.SUSPENDED)

    def everything() -> list[object]:
        ops = world.ops
        return [
            ops.tenants.get("aki-labs"),
            ops.databases.list("aki-labs").items,
            ops.databases.list("aki-labs", deleted=True).items,
            ops.collections.list("aki-labs", "kb").items,
            ops.users.list("aki-labs").items,
            world.actions("aki-labs"),
        ]

    before = everything()
    for call in CALLS:
        if call.operation in (Access.METADATA_WRITE, Access.DOCUMENT_WRITE):
            with pytest.raises(InvalidState):
                call(world)
    assert everything() == before
