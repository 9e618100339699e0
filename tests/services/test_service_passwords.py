"""Passwords of users: what is stored, how they are verified, what reveals nothing."""

import hashlib
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from akidb.domain.entities import AuditResult, User, UserRole
from akidb.domain.errors import (
    AkiDBError,
    Unauthenticated,
    Unavailable,
)
from akidb.operations import users as ask
from akidb.operations.declare import OfUser
from akidb.services import passwords
from akidb.services.passwords import Cost, Passwords

from .user_calls import SECRET, at_once, create, hash_of, on, update, verify
from .worlds import World, keyed, on_files


@pytest.fixture
def world(world: World) -> World:
    """A tenant `aki-labs`."""
    world.tenant()
    return world


@pytest.fixture
def bob(world: World) -> User:
    return create(world, "Bob@x", role=UserRole.DEVELOPER)


@on_files
def test_only_hash_of_password_is_stored(world: World, bob: User) -> None:
    assert hash_of(world, bob).startswith("$argon2id$")
    assert Passwords().verify(hash_of(world, bob), SECRET)
    world.ops.close()
    for path in world.directory.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


def test_new_password_replaces_old_one(world: World, bob: User) -> None:
    changed = update(world, bob, password="another horse")
    assert changed.version == 2
    with pytest.raises(Unauthenticated):
        verify(world)
    assert verify(world, password="another horse").user_id == bob.user_id


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


def test_concurrent_verifications_of_same_password_succeed(world: World, bob: User) -> None:
    failures: list[BaseException] = []

    def log_in() -> None:
        try:
            verify(world)
        except AkiDBError as error:
            failures.append(error)

    many = passwords.MAX_CONCURRENT_HASHES + passwords.MAX_WAITING_HASHES
    at_once(log_in, *[()] * many)
    assert failures == []
    assert on(world, ask.GetUser, bob.user_id).version == 1 + many


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


@pytest.mark.parametrize("damaged", ["$argon2ie$v=19$m=8,t=1,p=1$c2FsdA$aGFzaA", "$argon2id$", "x"])
def test_damaged_hash_is_reported_without_the_driver(damaged: str) -> None:
    with pytest.raises(Unavailable, match="hash"):
        Passwords(Cost(1, 8, 1)).verify(damaged, SECRET)


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


def test_verification_updates_last_login_time(world: World, bob: User) -> None:
    seen = verify(world, "BOB@x")
    assert seen.last_login_at == seen.updated_at
    assert seen.last_login_at is not None
    assert seen.last_login_at > bob.created_at
    assert seen == on(world, ask.GetUser)
