"""Calls about users of a tenant, for tests of users and of passwords."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from akidb.domain.entities import User
from akidb.domain.ids import UserId
from akidb.operations import users as ask
from akidb.operations.declare import Request

from .worlds import World

SECRET = "correct horse"
A = TypeVar("A")


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
