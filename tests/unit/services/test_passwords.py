"""Password hashes: parameters, cost and verification."""

import os
import re
import sys
import threading
import time
from contextlib import nullcontext
from typing import Any

import argon2
import pytest
from argon2 import low_level
from argon2.exceptions import HashingError

from akidb.domain.errors import Overloaded, Unavailable
from akidb.services import passwords
from akidb.services.passwords import (
    MAX_CONCURRENT_HASHES,
    MAX_WAITING_HASHES,
    RFC_9106_SECOND_CHOICE,
    Cost,
    Passwords,
)

CHEAP = Cost(passes=1, memory_kib=8, lanes=1)
SECRET = "correct horse"


@pytest.fixture(autouse=True)
def _full(full_cost: None) -> None:
    """What is not called cheap here costs what it costs users."""


@pytest.fixture
def cheap() -> Passwords:
    return Passwords(CHEAP)


def test_hash_uses_second_recommended_parameters_of_rfc_9106() -> None:
    made = argon2.extract_parameters(Passwords().hash(SECRET))
    assert made.type is argon2.Type.ID
    assert made.version == 19
    assert (made.time_cost, made.memory_cost, made.parallelism) == (3, 64 * 1024, 4)
    assert (made.salt_len, made.hash_len) == (16, 32)


def test_password_is_verified_from_hash_alone(cheap: Passwords) -> None:
    made = cheap.hash(SECRET)
    assert re.fullmatch(r"\$argon2id\$v=19\$m=8,t=1,p=1\$[\w+/]{22}\$[\w+/]{43}", made)
    assert Passwords(CHEAP).verify(made, SECRET)
    for wrong in ("", "correct hors", "correct horse ", "Correct horse"):
        assert not cheap.verify(made, wrong)


def test_same_password_gets_different_hash_each_time(cheap: Passwords) -> None:
    assert len({cheap.hash(SECRET) for _ in range(10)}) == 10


def test_unicode_composition_does_not_affect_verification(cheap: Passwords) -> None:
    assert cheap.verify(cheap.hash("caf\u00e9 1234"), "cafe\u0301 1234")
    assert not cheap.verify(cheap.hash("caf\u00e9 1234"), "cafe 1234")


def test_hash_with_other_parameters_verifies_and_is_outdated(cheap: Passwords) -> None:
    for cost in (Cost(2, 8, 1), Cost(1, 16, 1), Cost(1, 16, 2)):
        made = Passwords(cost).hash(SECRET)
        assert cheap.verify(made, SECRET)
        assert cheap.is_outdated(made)
    assert not cheap.is_outdated(cheap.hash(SECRET))


def test_missing_hash_rejects_every_password(cheap: Passwords) -> None:
    for password in ("", SECRET):
        assert cheap.verify(None, password) is False


def test_missing_hash_takes_same_work_as_wrong_password(monkeypatch: pytest.MonkeyPatch) -> None:
    verify_one, done = argon2.PasswordHasher.verify, list[argon2.Parameters]()

    def counted(self: argon2.PasswordHasher, hash: str, password: bytes) -> bool:
        done.append(argon2.extract_parameters(hash))
        return verify_one(self, hash, password)

    monkeypatch.setattr(argon2.PasswordHasher, "verify", counted)
    real = Passwords()
    assert not real.verify(real.hash(SECRET), "wrong")
    wrong = done.copy()
    done.clear()
    assert not real.verify(None, "wrong")
    assert done == wrong
    assert len(done) == 1


def test_decoy_hash_uses_current_parameters() -> None:
    decoy = argon2.extract_parameters(Passwords()._decoy)
    assert (decoy.time_cost, decoy.memory_cost, decoy.parallelism) == RFC_9106_SECOND_CHOICE
    assert (decoy.salt_len, decoy.hash_len) == (16, 32)


def test_fingerprint_depends_on_password_and_key(cheap: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    made = cheap.fingerprint(SECRET, "key")
    assert made == cheap.fingerprint(SECRET, "key")
    assert made not in {cheap.fingerprint(SECRET, "other"), cheap.fingerprint("other", "key")}
    hash_one, done = low_level.hash_secret_raw, list[Cost]()

    def counted(secret: bytes, salt: bytes, passes: int, memory: int, lanes: int, *more: Any) -> bytes:
        done.append(Cost(passes, memory, lanes))
        return hash_one(secret, salt, passes, memory, lanes, *more)

    monkeypatch.setattr(low_level, "hash_secret_raw", counted)
    Passwords().fingerprint(SECRET, "key")
    assert done == [RFC_9106_SECOND_CHOICE]  # it is no quicker to try than a hash


def test_concurrent_hashes_are_limited(cheap: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others wait, and are done in the end."""
    at_work, most, lock = 0, 0, threading.Lock()
    hash_one = argon2.PasswordHasher.hash

    def counted(self: argon2.PasswordHasher, *args: Any, **kwargs: Any) -> str:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        time.sleep(0.01)
        try:
            return hash_one(self, *args, **kwargs)
        finally:
            with lock:
                at_work -= 1

    monkeypatch.setattr(argon2.PasswordHasher, "hash", counted)
    made: list[str] = []
    number = MAX_CONCURRENT_HASHES + MAX_WAITING_HASHES
    threads = [threading.Thread(target=lambda: made.append(cheap.hash(SECRET))) for _ in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == number
    assert most == MAX_CONCURRENT_HASHES


def test_more_than_eight_waiting_hashes_are_refused_at_once(
    cheap: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, lock, refused, done = threading.Event(), threading.Lock(), list[object](), 0
    hash_one = argon2.PasswordHasher.hash

    def held(self: argon2.PasswordHasher, *args: Any, **kwargs: Any) -> str:
        assert go_on.wait(60)
        return hash_one(self, *args, **kwargs)

    def hash_it() -> None:
        nonlocal done
        try:
            cheap.hash(SECRET)
        except Overloaded as error:
            with lock:
                refused.append(error.fields["queue"])
                if len(refused) == 5:
                    go_on.set()
        else:
            with lock:
                done += 1

    monkeypatch.setattr(argon2.PasswordHasher, "hash", held)
    number = MAX_CONCURRENT_HASHES + MAX_WAITING_HASHES
    threads = [threading.Thread(target=hash_it) for _ in range(number + 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (done, refused) == (number, ["password"] * 5)
    assert cheap.hash(SECRET), "all places are free again"


@pytest.mark.parametrize("fails", [False, True])
def test_hash_uses_half_of_the_cores(cheap: Passwords, monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    cores = {0: {0, 1, 2, 3, 4}}
    monkeypatch.setattr(os, "sched_getaffinity", cores.__getitem__, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", cores.__setitem__, raising=False)
    seen: list[Any] = []

    def hash_one(*_: object) -> str:
        seen.append(cores[0])
        if fails:
            raise HashingError("no memory")
        return "made"

    monkeypatch.setattr(argon2.PasswordHasher, "hash", hash_one)
    with pytest.raises(Unavailable) if fails else nullcontext():
        cheap.hash(SECRET)
    assert seen == [[2, 3, 4]]


def test_hash_goes_behind_other_threads(cheap: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    seen: list[int] = []
    hash_one = argon2.PasswordHasher.hash

    def observed(self: argon2.PasswordHasher, *args: Any, **kwargs: Any) -> str:
        seen.append(os.getpriority(os.PRIO_PROCESS, 0))
        return hash_one(self, *args, **kwargs)

    monkeypatch.setattr(argon2.PasswordHasher, "hash", observed)
    cheap.hash(SECRET)
    is_linux = sys.platform == "linux"  # elsewhere threads have no priorities of their own
    assert seen == [min(19, before + passwords.NICENESS) if is_linux else before]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_hash_leaves_its_thread_on_all_cores(cheap: Passwords) -> None:
    before = _cores()
    assert cheap.verify(cheap.hash(SECRET), SECRET)
    cheap.fingerprint(SECRET, "key")
    assert _cores() == before


def _cores() -> object:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None


def test_wait_timeout_raises_overloaded(cheap: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "TURN_TIMEOUT_SECONDS", 0.01)
    for _ in range(MAX_CONCURRENT_HASHES):
        cheap._turns.acquire()
    with pytest.raises(Overloaded) as caught:
        cheap.hash(SECRET)
    assert caught.value.fields == {"queue": "password"}
    cheap._turns.release()
    assert cheap.hash(SECRET)


def test_out_of_memory_is_unavailable_and_releases_slot(
    cheap: Passwords, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object, **__: object) -> str:
        raise HashingError("Memory allocation error")

    for _ in range(MAX_CONCURRENT_HASHES + 1):
        with monkeypatch.context() as patched:
            patched.setattr(argon2.PasswordHasher, "hash", exhausted)
            with pytest.raises(Unavailable, match="Memory allocation error"):
                cheap.hash(SECRET)
    assert cheap.hash(SECRET)


def test_damaged_hash_is_unavailable_and_not_disclosed(cheap: Passwords) -> None:
    with pytest.raises(Unavailable) as caught:
        cheap.verify("$argon2id$v=19$m=8,t=1,p=1$damaged", SECRET)
    assert "damaged" not in caught.value.message
