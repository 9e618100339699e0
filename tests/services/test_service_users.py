"""User services: lifecycle, responses and audit entries. Passwords are in `test_service_passwords.py`."""

from typing import Any

import pytest

from akidb.domain.entities import User, UserRole
from akidb.domain.errors import (
    AlreadyExists,
    IdempotencyMismatch,
    InvalidArgument,
    InvalidState,
    NotFound,
    PreconditionFailed,
    Unauthenticated,
)
from akidb.domain.ids import TenantId, UserId
from akidb.domain.lifecycle import UserStatus
from akidb.operations import users as ask
from akidb.operations.declare import OfUser
from akidb.operations.tenants import DeleteTenant, PurgeTenant, RestoreTenant, SuspendTenant

from .user_calls import SECRET, at_once, create, hash_of, on, update, users, verify
from .worlds import World, keyed

MOVES: list[type[OfUser[Any]]] = [ask.SuspendUser, ask.ActivateUser, ask.DeactivateUser]
ABOUT_A_USER: list[type[OfUser[Any]]] = [ask.GetUser, ask.DeleteUser, *MOVES]
"""Requests that say nothing else."""


@pytest.fixture
def world(world: World) -> World:
    """A tenant `aki-labs`."""
    world.tenant()
    return world


@pytest.fixture
def bob(world: World) -> User:
    return create(world, "Bob@x", role=UserRole.DEVELOPER)


def test_created_user_is_active_and_found_by_id_and_email(world: World, bob: User) -> None:
    assert (bob.email, bob.role, bob.status, bob.version) == ("Bob@x", "developer", "active", 1)
    assert (bob.last_login_at, bob.created_by) == (None, None)
    for reference in (bob.user_id, str(bob.user_id), "bob@x", "BOB@X"):
        assert on(world, ask.GetUser, reference) == bob
    assert create(world, "al@x").role == "viewer"
    assert [user.email for user in users(world)] == ["al@x", "Bob@x"]


def test_email_is_unique_per_tenant_ignoring_case(world: World, bob: User) -> None:
    with pytest.raises(AlreadyExists) as caught:
        create(world)
    assert caught.value.fields == {"entity": "user", "field": "email", "value": "bob@x"}
    world.tenant("Other")
    assert create(world, tenant="other").user_id != bob.user_id


def test_change_increments_version_and_noop_does_not(world: World, bob: User) -> None:
    changed = update(world, bob, email="Rob@x", role="admin", if_version=1)
    assert (changed.email, changed.role, changed.version) == ("Rob@x", "admin", 2)
    assert update(world, bob, email="Rob@x") == update(world, bob) == changed
    with pytest.raises(PreconditionFailed):
        update(world, bob, role="viewer", if_version=1)
    assert verify(world, "rob@x").version == 3


def test_user_state_transitions_follow_table(world: World, bob: User) -> None:
    moves: list[tuple[type[OfUser[User]], str]] = [
        (ask.SuspendUser, "suspended"),
        (ask.ActivateUser, "active"),
        (ask.DeactivateUser, "deactivated"),
        (ask.ActivateUser, "active"),
        (ask.SuspendUser, "suspended"),
        (ask.DeactivateUser, "deactivated"),
    ]
    for move, status in moves:
        moved = on(world, move)
        assert moved.status == status
        assert on(world, move) == moved  # again changes nothing
    with pytest.raises(InvalidState) as caught:
        on(world, ask.SuspendUser)
    assert caught.value.fields["allowed"] == ["active"]
    assert moved.version == 7


def test_deleted_user_is_removed_permanently(world: World, bob: User) -> None:
    world.ops.perform(ask.DeleteUser(tenant="aki-labs", user="BOB@x", if_version=1))
    for request in ABOUT_A_USER:
        with pytest.raises(NotFound) as caught:
            on(world, request, bob.user_id)
        assert caught.value.fields == {"entity": "user", "id": str(bob.user_id)}
    with pytest.raises(NotFound):
        update(world, bob, role="admin")
    with pytest.raises(Unauthenticated):
        verify(world)
    again = create(world)
    assert again.user_id != bob.user_id


def test_only_one_of_two_concurrent_creates_of_same_email_succeeds(world: World) -> None:
    answers: list[object] = []

    def race(email: str) -> None:
        try:
            answers.append(create(world, email).email)
        except AlreadyExists as error:
            answers.append(error.fields["field"])

    at_once(race, *[("bob@x",), ("BOB@x",)] * 4)
    assert answers.count("email") == 7
    assert len(users(world)) == 1
    assert world.actions("aki-labs").count("user.create") == 1


def test_suspended_tenant_allows_verification_but_no_writes(world: World, bob: User) -> None:
    world.ops.perform(SuspendTenant(tenant="aki-labs"))
    assert verify(world) == bob == on(world, ask.GetUser)
    assert world.actions("aki-labs")[-1] == "user.verify_password"
    with pytest.raises(InvalidState):
        update(world, bob, password="another horse")


def test_idempotency_key_replays_first_response_and_rejects_other_password(world: World) -> None:
    def create_again(password: str) -> User:
        with keyed(idempotency_key="k"):
            return create(world, password=password)

    made = create_again(SECRET)
    assert create_again(SECRET) == made
    with pytest.raises(IdempotencyMismatch):
        create_again(SECRET + "!")
    for _ in range(2):
        with keyed(idempotency_key="u"):
            assert update(world, made, password="another horse").version == 2
    with pytest.raises(IdempotencyMismatch), keyed(idempotency_key="u"):
        update(world, made, password="a third horse")
    with keyed(idempotency_key="v"):
        verify(world, password="another horse")
        with pytest.raises(Unauthenticated):
            verify(world)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"email": "bob"}, "email"),
        ({"email": None}, "email"),
        ({"password": "1234567"}, "password"),
        ({"password": "p" * 1025}, "password"),
        ({"password": None}, "password"),
        ({"role": "owner"}, "role"),
    ],
)
def test_invalid_value_is_rejected_by_field_and_changes_nothing(
    world: World, bob: User, arguments: dict[str, Any], field: str
) -> None:
    before = (users(world), world.actions("aki-labs"), hash_of(world, bob))
    with pytest.raises(InvalidArgument) as caught:
        create(world, **{"email": "new@x", **arguments})
    assert caught.value.field == field
    with pytest.raises(InvalidArgument) as caught:
        update(world, bob, **arguments)
    assert caught.value.field == field
    assert (users(world), world.actions("aki-labs"), hash_of(world, bob)) == before


def test_foreign_user_is_reported_like_unknown_user(world: World, bob: User) -> None:
    world.tenant("Mallory")
    perform, unknown = world.ops.perform, UserId(b"\1" * 16)

    def answer(request: type[OfUser[Any]], user: UserId, **fields: Any) -> tuple[str, dict[str, Any]]:
        with pytest.raises(NotFound) as caught:
            perform(request(tenant="mallory", user=user, **fields))
        return caught.value.message.replace(str(user), "ID"), {**caught.value.fields, "id": "ID"}

    for request in ABOUT_A_USER:
        assert answer(request, bob.user_id) == answer(request, unknown)
    changed = {"role": UserRole.ADMIN}
    assert answer(ask.UpdateUser, bob.user_id, **changed) == answer(ask.UpdateUser, unknown, **changed)
    assert users(world, "mallory") == []
    with pytest.raises(Unauthenticated):
        perform(ask.VerifyPassword(tenant="mallory", email="bob@x", password=SECRET))
    create(world, "al@x")
    cursor = perform(ask.ListUsers(tenant="aki-labs", limit=1)).next_cursor
    assert cursor is not None
    with pytest.raises(InvalidArgument, match="cursor"):
        perform(ask.ListUsers(tenant="mallory", cursor=cursor))
    assert on(world, ask.GetUser, bob.user_id) == bob


def test_every_user_change_writes_one_audit_entry_without_email_or_password(world: World, bob: User) -> None:
    update(world, bob, email="rob@x", role="admin", password="another horse")
    for request in MOVES:
        on(world, request, bob.user_id)
    on(world, ask.DeleteUser, bob.user_id)
    entries = world.audit("aki-labs")[1:]
    assert [(entry.action, entry.metadata) for entry in entries] == [
        ("user.create", {"role": "developer"}),
        ("user.update", {"changed": ["email", "role", "password"], "role": "admin"}),
        ("user.suspend", {}),
        ("user.activate", {}),
        ("user.deactivate", {}),
        ("user.delete", {}),
    ]
    for entry in entries:
        assert (entry.resource_type, entry.resource_id) == ("user", str(bob.user_id))
        assert not any(word in repr(entry) for word in ("@", "horse", "argon2"))


def test_purge_of_tenant_removes_its_users(world: World, bob: User) -> None:
    tenant_id: TenantId = bob.tenant_id
    world.ops.perform(DeleteTenant(tenant=tenant_id))
    with pytest.raises(NotFound):
        on(world, ask.GetUser, bob.user_id)
    with pytest.raises(NotFound):
        verify(world)
    world.ops.perform(RestoreTenant(tenant=tenant_id))
    assert on(world, ask.GetUser, bob.user_id).status is UserStatus.ACTIVE
    world.ops.perform(DeleteTenant(tenant=tenant_id))
    world.ops.perform(PurgeTenant(tenant=tenant_id))
    assert "user.create" in world.actions(tenant_id)
