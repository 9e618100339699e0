"""Concurrent operations on one user, on both databases, do not disturb each other."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import akidb

SECRET = "correct horse"
THREADS = 10
"""As many as may hash a password or wait for it at once."""


@pytest.fixture(params=["sqlite", "postgresql"])
def aki(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[akidb.TenantHandle]:
    """A tenant."""
    target = tmp_path / "data" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    with akidb.connect(target, models_dir=str(tmp_path / "models")) as db:
        yield db.tenants.create("Aki")


def at_once(call: Callable[[int], object]) -> list[object]:
    """What calls in as many threads gave or raised."""
    start, answers = threading.Barrier(THREADS), list[object]()

    def run(number: int) -> None:
        start.wait()
        try:
            answers.append(call(number))
        except akidb.AkiDBError as error:
            answers.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def test_only_one_of_many_concurrent_creates_of_same_email_succeeds(aki: akidb.TenantHandle) -> None:
    emails = ("bob@x", "BOB@x", "Bob@X")
    answers = at_once(lambda number: aki.users.create(emails[number % 3], password=SECRET))
    refused = [answer for answer in answers if isinstance(answer, akidb.AlreadyExists)]
    assert len(refused) == THREADS - 1
    assert {error.fields["field"] for error in refused} == {"email"}
    assert aki.users.count() == 1
    assert [entry.action for entry in aki.audit()].count("user.create") == 1


def test_concurrent_get_or_create_returns_same_user(aki: akidb.TenantHandle) -> None:
    answers = at_once(lambda _: aki.users.get_or_create("bob@x", password=SECRET).id)
    assert set(answers) == {aki.users.get("bob@x").id}


def test_concurrent_password_verifications_succeed(aki: akidb.TenantHandle) -> None:
    aki.users.create("bob@x", password=SECRET)
    answers = at_once(lambda _: aki.users.verify_password("bob@x", SECRET).version)
    assert sorted(map(str, answers), key=int) == [str(number) for number in range(2, THREADS + 2)]


def test_concurrent_changes_are_not_lost(aki: akidb.TenantHandle) -> None:
    bob = aki.users.create("bob@x", password=SECRET)
    answers = at_once(lambda number: aki.users.get(bob.id).update(email=f"bob{number}@x"))
    assert answers == [None] * THREADS
    bob.refresh()
    assert bob.version == THREADS + 1
    answers = at_once(lambda number: bob.update(email=f"rob{number}@x", if_version=THREADS + 1))
    assert sum(isinstance(answer, akidb.PreconditionFailed) for answer in answers) == THREADS - 1
