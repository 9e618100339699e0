"""User services: lifecycle, passwords, responses and audit entries."""

import hashlib
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from akidb.domain.entities import AuditResult, User, UserRole
from akidb.domain.errors import (
    AkiDBError,
    AlreadyExists,
    IdempotencyMismatch,
    InvalidArgument,
    InvalidState,
    NotFound,
    PreconditionFailed,
    Unauthenticated,
    Unavailable,
)
from akidb.domain.ids import TenantId, UserId
from akidb.domain.lifecycle import UserStatus
from akidb.operations import users as ask
from akidb.operations.declare import OfUser, Request
from akidb.operations.tenants import DeleteTenant, PurgeTenant, RestoreTenant, SuspendTenant
from akidb.services import passwords
from akidb.services.passwords import Cost, Passwords

from .worlds import World, keyed, on_files

SECRET = "correct horse"
A = TypeVar("A")
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


def create(world: World, email: str = "bob@x", tenant: str = "aki-labs", **fields: Any) -> User:
    fields = {"password": SECRET, **fields}
    return world.ops.perform(ask.CreateUser(tenant=tenant, email=email, **fields))


def on(world: World, request: Callable[..., Request[A]], user: UserId | str = "bob@x") -> A:
    """Ask something of a user."""
    return world.ops.perform(request(tenant="aki-labs", user=user))


def users(world: World, tenant: str = "aki-labs") -> list[User]:
    return world.ops.perform(ask.ListUsers(tenant=tenant)).items


def at_once(work: Callable[..., None], *arguments: tuple[object, ...]) -> None:
    """Do work with each of the arguments, in as many threads."""
    threads = [threading.Thread(target=work, args=each) for each in arguments]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def hash_of(world: World, user: User) -> str:
    with world.ops._runtime.metadata.read() as tx:
        found = tx.users.find_with_hash(user.tenant_id, user.user_id)
    assert found is not None
    return found[1]


def verify(world: World, email: str = "bob@x", password: str = SECRET) -> User:
    return world.ops.perform(ask.VerifyPassword(tenant="aki-labs", email=email, password=password))


def update(world: World, user: User, **changes: Any) -> User:
    return world.ops.perform(ask.UpdateUser(tenant="aki-labs", user=user.user_id, **changes))


def test_created_user_is_active_and_found_by_id_and_email(world: World, bob: User) -> None:
    assert (bob.email, bob.role, bob.status, bob.version) == ("Bob@x", "developer", "active", 1)
    assert (bob.last_login_at, bob.created_by) == (None, None)
    for reference in (bob.user_id, str(bob.user_id), "bob@x", "BOB@X"):
        assert on(world, ask.GetUser, reference) == bob
    assert create(world, "al@x").role == "viewer"
    assert [user.email for user in users(world)] == ["al@x", "Bob@x"]


@on_files
def test_only_hash_of_password_is_stored(world: World, bob: User) -> None:
    assert hash_of(world, bob).startswith("$argon2id$")
    assert Passwords().verify(hash_of(world, bob), SECRET)
    world.ops.close()
    for path in world.directory.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


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


def test_new_password_replaces_old_one(world: World, bob: User) -> None:
    changed = update(world, bob, password="another horse")
    assert changed.version == 2
    with pytest.raises(Unauthenticated):
        verify(world)
    assert verify(world, password="another horse").user_id == bob.user_id


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


def test_verification_updates_last_login_time(world: World, bob: User) -> None:
    seen = verify(world, "BOB@x")
    assert seen.last_login_at == seen.updated_at
    assert seen.last_login_at is not None
    assert seen.last_login_at > bob.created_at
    assert seen == on(world, ask.GetUser)


def test_unknown_email_wrong_password_and_inactive_user_give_same_error(world: World, bob: User) -> None:
    def told(email: str, password: str) -> tuple[str, dict[str, Any]]:
        with pytest.raises(Unauthenticated) as caught:
            verify(world, email, password)
        return caught.value.message, caught.value.fields

    answers = [told("nobody@x", SECRET), told("bob@x", "wrong"), told("bob@x", "")]
    on(world, ask.SuspendUser)
    answers.append(told("bob@x", SECRET))
    on(world, ask.DeactivateUser)
    answers.append(told("bob@x", SECRET))
    assert all(answer == answers[0] for answer in answers)
    entries = [entry for entry in world.audit("aki-labs") if entry.action == "user.verify_password"]
    assert [entry.result for entry in entries] == [AuditResult.DENIED] * 5
    assert [entry.resource_type for entry in entries] == ["tenant", "user", "user", "user", "user"]
    assert on(world, ask.GetUser).last_login_at is None


def test_every_failed_verification_hashes_exactly_once(
    world: World, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once, with today's parameters: also for a user kept out whose hash is outdated."""
    seen: list[str] = []

    def counting(name: str) -> None:
        call = getattr(Passwords, name)

        def counted(self: Passwords, *args: object) -> object:
            seen.append(name)
            return call(self, *args)

        monkeypatch.setattr(Passwords, name, counted)

    counting("verify")
    counting("hash")
    monkeypatch.setattr(Passwords, "is_outdated", lambda *_: True)
    on(world, ask.SuspendUser)
    for email, password in (("nobody@x", SECRET), ("bob@x", "wrong"), ("bob@x", SECRET)):
        seen.clear()
        with pytest.raises(Unauthenticated):
            verify(world, email, password)
        assert seen == ["verify"]


def test_outdated_hash_is_replaced_on_successful_verification(
    world: World, bob: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = hash_of(world, bob)
    world.ops.close()
    monkeypatch.setattr(passwords, "cost_of_this_process", Cost(2, 16, 1))
    world.ops = world.connect()
    with pytest.raises(Unauthenticated):
        verify(world, password="wrong")
    assert hash_of(world, bob) == old
    verify(world)
    new = hash_of(world, bob)
    assert "m=16,t=2" in new
    verify(world)
    assert hash_of(world, bob) == new


@pytest.mark.parametrize("new", ["another horse", SECRET])
def test_hash_replaced_during_verification_is_rechecked(
    world: World, bob: User, monkeypatch: pytest.MonkeyPatch, new: str
) -> None:
    """Another password is wrong then; the same one, whose hash another made anew, is right."""
    verify_one = Passwords.verify
    tries = 0

    def verify_late(self: Passwords, known: str | None, password: str) -> bool:
        nonlocal tries
        found, tries = verify_one(self, known, password), tries + 1
        if tries == 1:
            update(world, bob, password=new)
        return found

    monkeypatch.setattr(Passwords, "verify", verify_late)
    if new == SECRET:
        assert verify(world).version == 3
    else:
        with pytest.raises(Unauthenticated):
            verify(world)
    assert tries == 2
    assert Passwords().verify(hash_of(world, bob), new)


def test_concurrent_verifications_with_outdated_hash_all_succeed(
    world: World, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.ops.close()
    monkeypatch.setattr(passwords, "cost_of_this_process", Cost(2, 16, 1))
    world.ops = world.connect()
    seen: list[User] = []
    at_once(lambda: seen.append(verify(world)), *[()] * 8)
    assert len(seen) == 8


def test_user_deleted_or_suspended_during_verification_is_rejected(
    world: World, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    verify_one = Passwords.verify
    meanwhile: list[type[OfUser[Any]]] = [ask.SuspendUser, ask.DeleteUser]
    for request in meanwhile:

        def verify_late(
            self: Passwords, known: str | None, password: str, request: type[OfUser[Any]] = request
        ) -> bool:
            found = verify_one(self, known, password)
            on(world, request)
            return found

        with monkeypatch.context() as patched:
            patched.setattr(Passwords, "verify", verify_late)
            with pytest.raises(Unauthenticated):
                verify(world)
        if request is ask.SuspendUser:
            on(world, ask.ActivateUser)


def test_hashing_runs_outside_transaction(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another writer commits while a password is being hashed."""
    hashing, done = threading.Event(), threading.Event()
    hash_one = Passwords.hash

    def slow(self: Passwords, password: str) -> str:
        hashing.set()
        assert done.wait(10)
        return hash_one(self, password)

    monkeypatch.setattr(Passwords, "hash", slow)
    thread = threading.Thread(target=lambda: create(world))
    thread.start()
    assert hashing.wait(10)
    started = time.monotonic()
    world.database()
    assert time.monotonic() - started < 5
    done.set()
    thread.join()
    assert world.actions("aki-labs")[-2:] == ["database.create", "user.create"]


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


def test_concurrent_verifications_of_same_password_succeed(world: World, bob: User) -> None:
    failures: list[BaseException] = []

    def log_in() -> None:
        try:
            verify(world)
        except AkiDBError as error:
            failures.append(error)

    at_once(log_in, *[()] * 16)
    assert failures == []
    assert on(world, ask.GetUser, bob.user_id).version == 17


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


@on_files
def test_idempotency_record_does_not_allow_fast_password_guessing(world: World) -> None:
    """A hash of the arguments would be tried a million times a second."""
    from akidb.ports import wire

    with keyed(idempotency_key="k"):
        create(world)

    def digest_with(password: str) -> bytes:
        said = {"email": "bob@x", "role": UserRole.VIEWER, "password": password}
        return hashlib.sha256(wire.encode_ordered([said, None, None])).digest()

    quick, hard = digest_with(SECRET), digest_with(Passwords().fingerprint(SECRET, "k"))
    world.ops.close()
    kept = b"".join(path.read_bytes() for path in world.directory.glob("metadata.db*"))
    assert hard in kept
    assert quick not in kept


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


def test_repr_and_errors_never_contain_password_or_hash(world: World, bob: User) -> None:
    shown = [
        repr(bob),
        repr(world.ops.perform(ask.ListUsers(tenant="aki-labs"))),
        repr(ask.UpdateUser(tenant="aki-labs", user="bob@x", password=SECRET, role=UserRole.ADMIN)),
        repr(ask.CreateUser(tenant="aki-labs", email="bob@x", password=SECRET)),
        repr(ask.VerifyPassword(tenant="aki-labs", email="bob@x", password=SECRET)),
        repr(verify(world)),
    ]
    with pytest.raises(AkiDBError) as caught:
        create(world)
    shown += [caught.value.message, repr(caught.value.fields)]
    assert shown[2] == (
        "UpdateUser(tenant='aki-labs', user='bob@x', email=UNSET, role=<UserRole.ADMIN: 'admin'>,"
        " if_version=None)"
    )
    assert not any(word in text for text in shown for word in (SECRET, "argon2"))


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


@pytest.mark.parametrize("damaged", ["$argon2ie$v=19$m=8,t=1,p=1$c2FsdA$aGFzaA", "$argon2id$", "x"])
def test_damaged_hash_is_reported_without_the_driver(damaged: str) -> None:
    with pytest.raises(Unavailable, match="hash"):
        Passwords(Cost(1, 8, 1)).verify(damaged, SECRET)
