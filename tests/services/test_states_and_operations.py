"""Every operation in every state behaves as the published table says."""

import io
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import pytest

from akidb.domain import lifecycle
from akidb.domain.errors import InvalidState, NotFound, Unauthenticated
from akidb.domain.fields import CollectionPath
from akidb.domain.lifecycle import (
    ENTITY_OF,
    MOVES,
    PERMITTED,
    Access,
    CollectionState,
    DatabaseState,
    State,
    TenantStatus,
    UserStatus,
)
from akidb.operations import OPERATIONS, Request
from akidb.operations.collections import (
    DeleteCollection,
    ListCollections,
    PurgeCollection,
    RestoreCollection,
)
from akidb.operations.databases import (
    DeleteDatabase,
    ListDatabases,
    PurgeDatabase,
    RestoreDatabase,
    UpdateDatabase,
)
from akidb.operations.documents import UpsertDocuments
from akidb.operations.tenants import (
    ActivateTenant,
    DeleteTenant,
    GetTenant,
    PurgeTenant,
    RestoreTenant,
    SuspendTenant,
)
from akidb.operations.users import ActivateUser, CreateUser, DeactivateUser, ListUsers, SuspendUser
from akidb.ports.metadata import MetadataTransaction

from .worlds import World, notes, vector_of

T, D, C, U = TenantStatus, DatabaseState, CollectionState, UserStatus
HOLDERS: tuple[type[State], ...] = (T, D, C)
"""What holds others, and stops by its state what is done to them."""
KINDS = (*HOLDERS, U)
PATH = CollectionPath("aki-labs", "kb", "notes")
SECRET = "correct horse"
NAMES: dict[type[State], str] = {T: "aki-labs", D: "kb", C: "notes", U: "bob@x"}
"""What is brought into each state, and what requests name unless it is said otherwise below."""
FIRST: dict[type[State], State] = {T: T.ACTIVE, D: D.READY, C: C.READY}
HIDDEN: dict[type[State], State] = {T: T.DECOMMISSIONED, D: D.DELETING, C: C.DELETING}
DELETE: dict[type[State], type[Request[Any]]] = {T: DeleteTenant, D: DeleteDatabase, C: DeleteCollection}

FIELDS: dict[str, dict[str, Any]] = {
    "tenant.update": {"name": "New name"},
    "tenant.copy": {"slug": "copied"},
    "database.create": {"name": "new"},
    "database.update": {"description": "new"},
    "database.delete": {"database": "spare"},
    "database.restore": {"database": "gone"},
    "database.purge": {"database": "doomed"},
    "collection.create": {"name": "new", "dimension": 16},
    "collection.update": {"hnsw_m": 5},
    "collection.delete": {"collection": "spare"},
    "collection.restore": {"collection": "gone"},
    "collection.purge": {"collection": "doomed"},
    "user.create": {"email": "new@x", "password": SECRET},
    "user.update": {"password": "another horse"},
    "user.activate": {"user": "spare@x"},
    "user.suspend": {"user": "spare@x"},
    "user.deactivate": {"user": "spare@x"},
    "user.delete": {"user": "spare@x"},
    "user.verify_password": {"email": "al@x", "password": SECRET},
    "document.get": {"ids": ["a"]},
    "document.search": {"vector": vector_of("question")},
    "document.search_batch": {"vectors": [vector_of("question")]},
    "document.facets": {"field": "n"},
    "document.upsert": {"documents": notes("b")},
    "document.update": {"metadata": {"x": 1}, "ids": ["a"]},
    "document.delete": {"ids": ["b"]},
}
"""What each request says besides the path."""

ABOVE = {"get", "delete", "restore", "purge"}
"""They look at the states above a thing alone; its own lets it be seen, or follows the table of moves."""

FOLLOWS_MOVES = "it follows the table of moves"
OUTSIDE = {
    **dict.fromkeys(("tenant.create", "tenant.list", "tenant.count"), "there is no tenant above a tenant"),
    "tenant.get": "it shows the state that stops the others",
    **dict.fromkeys(
        [f"tenant.{verb}" for verb in ("activate", "suspend", "delete", "restore", "purge")],
        FOLLOWS_MOVES,
    ),
    **dict.fromkeys(
        ("embedding.create", "model.list", "model.get", "model.pull", "tenant.import"),
        "they are asked of no tenant",
    ),
    **dict.fromkeys(("backup.create", "store.check", "store.maintain"), "they are asked of all tenants"),
    **dict.fromkeys(("migration.v1_to_v2", "migration.v2_to_v1"), "they are asked of all tenants, or none"),
}
"""Operations that no state stops in this way, and why."""


class Call(NamedTuple):
    """A request, and what it is in the table."""

    request: Request[Any]
    name: str
    access: Access
    path: tuple[type[State], ...]
    """Whose states it must pass."""

    def perform(self, world: World) -> object:
        ends = {"sink": io.BytesIO()} if OPERATIONS[type(self.request)].gives == "bytes" else {}
        return world.ops.perform(self.request, **ends)

    def names(self, kind: type[State]) -> bool:
        """Whether it is about what is brought into the state, or something in it."""
        return getattr(self.request, ENTITY_OF[kind], None) == NAMES[kind]


def request_of(request: type[Request[Any]], **fields: Any) -> Request[Any]:
    """A request about the usual path, but for these fields."""
    path = {place: NAMES[kind] for kind in KINDS if (place := ENTITY_OF[kind]) in OPERATIONS[request].places}
    return request(**path | fields)


def calls() -> Iterator[Call]:
    """A call of each operation that is stopped by what its row of the table of operations needs."""
    for request, row in OPERATIONS.items():
        if row.needs is not None:
            passed = {*row.places} - ({row.feature} if row.verb in ABOVE else set())
            path = tuple(kind for kind in HOLDERS if ENTITY_OF[kind] in passed)
            yield Call(request_of(request, **FIELDS.get(row.name, {})), row.name, row.needs, path)


CALLS = list(calls())


def test_every_operation_is_in_table_once() -> None:
    names = sorted(row.name for row in OPERATIONS.values())
    assert sorted([call.name for call in CALLS] + list(OUTSIDE)) == names
    assert FIELDS.keys() <= {call.name for call in CALLS}


def test_every_access_kind_is_covered_by_a_call() -> None:
    assert {call.access for call in CALLS} == set(Access)
    assert {kind for call in CALLS for kind in call.path} == {*HOLDERS}


@pytest.fixture
def world(world: World) -> World:
    """A tenant in which every call succeeds while everything is in its initial state."""
    world.place()
    world.on(PATH, UpsertDocuments, documents=notes("a", "b"))
    for name in ("spare", "gone", "doomed"):
        world.database("aki-labs", name)
        world.collection("aki-labs", "kb", name)
    for name in ("gone", "doomed"):
        world.ops.perform(request_of(DeleteCollection, collection=name))
        world.ops.perform(request_of(DeleteDatabase, database=name))
    for email in ("bob@x", "al@x", "spare@x"):
        world.ops.perform(CreateUser(tenant="aki-labs", email=email, password=SECRET))
    return world


def put(world: World, state: State) -> None:
    """Bring what is of the state's kind into the state, past the services where they cannot."""
    if is_hidden(state):
        world.ops.perform(request_of(DELETE[type(state)]))
    else:
        with world.ops._runtime.metadata.transaction() as tx:
            _set(tx, state)


def is_hidden(state: State) -> bool:
    """Whether it is that of a deleted thing."""
    return state is HIDDEN.get(type(state))


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


def outcome(call: Callable[[], object]) -> tuple[Any, ...]:
    """What a call comes to, as far as states are concerned."""
    try:
        call()
    except InvalidState as error:
        return "stopped", error.fields
    except NotFound as error:
        return "not found", error.fields["entity"]
    except Unauthenticated:
        return ("not let in",)
    return ("done",)


def stopped(state: State, operation: str, allowed: Iterable[str]) -> tuple[Any, ...]:
    told = {"entity": ENTITY_OF[type(state)], "state": state, "operation": operation}
    return "stopped", {**told, "allowed": list(allowed)}


def expected(call: Call, state: State) -> tuple[Any, ...]:
    kind = type(state)
    permitted = PERMITTED[kind][state]
    if kind is U:
        asks = call.name == "user.verify_password"
        return ("not let in",) if asks and not permitted else ("done",)
    if is_hidden(state):
        return ("not found", ENTITY_OF[kind]) if call.names(kind) else ("done",)
    if kind in call.path and call.access not in permitted:
        return stopped(state, call.access, sorted(permitted))
    return ("done",)


EVERY_STATE = pytest.mark.parametrize("state", [*T, *D, *C, *U], ids=lambda s: f"{ENTITY_OF[type(s)]}-{s}")


@EVERY_STATE
def test_each_state_blocks_exactly_the_operations_in_table(world: World, state: State) -> None:
    put(world, state)
    for call in CALLS:
        assert outcome(partial(call.perform, world)) == expected(call, state), call.name


@pytest.mark.parametrize("access", Access)
@pytest.mark.parametrize("kind", HOLDERS)
def test_services_enforce_permissions_from_table(
    world: World, monkeypatch: pytest.MonkeyPatch, kind: type[State], access: Access
) -> None:
    """Work that is taken out of the table is stopped everywhere, also where no state stops it today."""
    permitted: Any = PERMITTED[kind]
    first = FIRST[kind]
    monkeypatch.setitem(permitted, first, permitted[first] - {access})
    monkeypatch.setattr(lifecycle, "_forbidding", lifecycle._forbidding.__wrapped__)  # what is kept
    for call in CALLS:
        is_stopped = call.access is access and kind in call.path
        assert (outcome(partial(call.perform, world))[0] == "stopped") is is_stopped, call.name


def test_blocked_operation_changes_nothing(world: World) -> None:
    put(world, T.SUSPENDED)

    def everything() -> list[object]:
        ops = world.ops
        return [
            ops.perform(GetTenant(tenant="aki-labs")),
            ops.perform(ListDatabases(tenant="aki-labs")).items,
            ops.perform(ListDatabases(tenant="aki-labs", deleted=True)).items,
            ops.perform(ListCollections(tenant="aki-labs", database="kb")).items,
            ops.perform(ListUsers(tenant="aki-labs")).items,
            world.actions("aki-labs"),
        ]

    before = everything()
    for call in CALLS:
        if call.access in (Access.METADATA_WRITE, Access.DOCUMENT_WRITE):
            with pytest.raises(InvalidState):
                call.perform(world)
    assert everything() == before


MOVING: list[tuple[Request[Any], State]] = [
    (request_of(ActivateTenant), T.ACTIVE),
    (request_of(SuspendTenant), T.SUSPENDED),
    *((request_of(UpdateDatabase, state=state), state) for state in D if state is not D.DELETING),
    (request_of(ActivateUser), U.ACTIVE),
    (request_of(SuspendUser), U.SUSPENDED),
    (request_of(DeactivateUser), U.DEACTIVATED),
    *((request_of(request), HIDDEN[kind]) for kind, request in DELETE.items()),
]
"""Requests and the states to which they move what they are about; deleting comes last."""
RESTORE: dict[type[State], type[Request[Any]]] = {T: RestoreTenant, D: RestoreDatabase, C: RestoreCollection}
PURGE: dict[type[State], type[Request[Any]]] = {T: PurgeTenant, D: PurgeDatabase, C: PurgeCollection}


def test_every_state_transition_operation_is_covered() -> None:
    tried = {type(request) for request, _ in MOVING} | {*RESTORE.values(), *PURGE.values()}
    moves = {name for name, reason in OUTSIDE.items() if reason is FOLLOWS_MOVES}
    moves |= {f"{ENTITY_OF[kind]}.{verb}" for kind in HOLDERS for verb in ABOVE - {"get"}}
    assert moves <= {OPERATIONS[request].name for request in tried}


def state_of(world: World, kind: type[State]) -> State:
    with world.ops._runtime.metadata.read() as tx:
        tenant = tx.tenants.find("aki-labs") or tx.tenants.get("aki-labs", deleted=True)
        if kind is T:
            return tenant.status
        if kind is U:
            return tx.users.get(tenant.tenant_id, "bob@x").status
        where = tenant.tenant_id
        database = tx.databases.find(where, "kb") or tx.databases.get(where, "kb", deleted=True)
        if kind is D:
            return database.state
        inside = (where, database.database_id, "notes")
        return (tx.collections.find(*inside) or tx.collections.get(*inside, deleted=True)).state


@EVERY_STATE
def test_state_transitions_follow_table(world: World, state: State) -> None:
    kind = type(state)
    moves = MOVES[kind][state]
    put(world, state)
    for request, target in ((request, target) for request, target in MOVING if type(target) is kind):
        if is_hidden(state):
            assert outcome(partial(world.ops.perform, request)) == ("not found", ENTITY_OF[kind]), request
            continue
        put(world, state)
        may = target is state or target in moves
        want = ("done",) if may else stopped(state, f"a move to {target}", moves)
        assert outcome(partial(world.ops.perform, request)) == want, request
        assert state_of(world, kind) is (target if may else state), request


@pytest.mark.parametrize("state", [*T, *D, *C], ids=lambda s: f"{ENTITY_OF[type(s)]}-{s}")
def test_only_deleted_resources_can_be_restored_or_purged(world: World, state: State) -> None:
    kind = type(state)
    restore = partial(world.ops.perform, request_of(RESTORE[kind]))
    purge = partial(world.ops.perform, request_of(PURGE[kind]))
    put(world, state)
    if is_hidden(state):
        assert outcome(restore) == ("done",)
        assert state_of(world, kind) is FIRST[kind]
        put(world, state)
        assert outcome(purge) == ("done",)
        assert outcome(purge) == ("not found", ENTITY_OF[kind])
    else:
        assert outcome(purge) == stopped(state, "purge", [HIDDEN[kind]])
        assert state_of(world, kind) is state
    assert outcome(restore) == ("not found", ENTITY_OF[kind])
