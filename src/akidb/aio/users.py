"""Users as handles.

The awaitable twin of `akidb.client.handles.users`, generated from it by `tools/generate_aio.py`.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Unpack

from akidb.client.handles import users as sync
from akidb.client.handles.base import Field
from akidb.client.handles.users import UserFields
from akidb.client.results import Page
from akidb.client.threads import Threads
from akidb.domain.documents import DEFAULT_PAGE_LIMIT
from akidb.domain.entities import User, UserRole
from akidb.domain.fields import UserRef
from akidb.domain.ids import TenantId, UserId
from akidb.domain.lifecycle import UserStatus


class Users:
    """The users of a tenant, each named by ID or email. Iterating goes over all of them, by email."""

    def __init__(self, handle: sync.Users, threads: Threads) -> None:
        self._sync = handle
        self._threads = threads

    async def create(self, email: str, *, password: str, role: UserRole = UserRole.VIEWER) -> "UserHandle":
        """Create an active user, with a password of 8-1024 bytes.

        Raises AlreadyExists for an email that the tenant has, case ignored.
        """
        return UserHandle(
            await self._threads(self._sync.create, email, password=password, role=role), self._threads
        )

    async def get(self, user: UserRef) -> "UserHandle":
        """The user with this email or ID. Raises NotFound."""
        return UserHandle(await self._threads(self._sync.get, user), self._threads)

    async def find(self, user: UserRef) -> "UserHandle | None":
        """The user with this email or ID, or None."""
        found = await self._threads(self._sync.find, user)
        return None if found is None else UserHandle(found, self._threads)

    async def exists(self, user: UserRef) -> bool:
        """Whether there is a user with this email or ID."""
        return await self._threads(self._sync.exists, user)

    async def get_or_create(
        self, email: str, *, password: str, role: UserRole = UserRole.VIEWER
    ) -> "UserHandle":
        """The user with this email; created, with the password and the role, when there is none.

        A user that exists is given as it is: neither its password nor its role is looked at.
        """
        return UserHandle(
            await self._threads(self._sync.get_or_create, email, password=password, role=role), self._threads
        )

    async def list(self, *, limit: int = DEFAULT_PAGE_LIMIT, cursor: str | None = None) -> Page["UserHandle"]:
        """Up to `limit` users by email."""
        page = await self._threads(self._sync.list, limit=limit, cursor=cursor)
        return Page((UserHandle(item, self._threads) for item in page), page.next_cursor)

    async def __aiter__(self) -> AsyncIterator["UserHandle"]:
        async for item in self._threads.iterate(self._sync):
            yield UserHandle(item, self._threads)

    async def count(self) -> int:
        """How many users there are."""
        return await self._threads(self._sync.count)

    async def delete(self, user: UserRef, *, if_version: int | None = None) -> None:
        """Remove a user for good; the audit entries stay."""
        await self._threads(self._sync.delete, user, if_version=if_version)

    async def verify_password(self, email: str, password: str) -> "UserHandle":
        """The active user who has this email and password; the time of it becomes `last_login_at`.

        Raises Unauthenticated for an unknown email, a wrong password and a user who is not active alike.
        """
        return UserHandle(await self._threads(self._sync.verify_password, email, password), self._threads)


class UserHandle:
    """A user of a tenant. Its password can be set and verified, never read.

    With `if_version` a change is made only while the user has that version; otherwise it raises
    PreconditionFailed and changes nothing.
    """

    tenant_id = Field[TenantId]()
    email = Field[str]()
    role = Field[UserRole]()
    status = Field[UserStatus]()
    last_login_at = Field[datetime | None]()
    created_by = Field[UserId | None]()
    version = Field[int]()
    created_at = Field[datetime]()
    updated_at = Field[datetime]()

    def __init__(self, handle: sync.UserHandle, threads: Threads) -> None:
        self._sync = handle
        self._threads = threads

    def __repr__(self) -> str:
        return repr(self._sync)

    @property
    def entity(self) -> User:
        """The user as it was last read or changed through this handle."""
        return self._sync.entity

    @property
    def id(self) -> UserId:
        """Its ID, which never changes."""
        return self._sync.id

    async def refresh(self) -> None:
        """Read the user again."""
        await self._threads(self._sync.refresh)

    async def update(self, *, if_version: int | None = None, **changes: Unpack[UserFields]) -> None:
        """Change fields, or set another password; what is left out stays."""
        await self._threads(self._sync.update, if_version=if_version, **changes)

    async def activate(self, *, if_version: int | None = None) -> None:
        """Let the suspended or deactivated user in again."""
        await self._threads(self._sync.activate, if_version=if_version)

    async def suspend(self, *, if_version: int | None = None) -> None:
        """Keep the active user out for a while."""
        await self._threads(self._sync.suspend, if_version=if_version)

    async def deactivate(self, *, if_version: int | None = None) -> None:
        """Keep the user out who is to leave."""
        await self._threads(self._sync.deactivate, if_version=if_version)

    async def delete(self, *, if_version: int | None = None) -> None:
        """Remove the user for good; the audit entries stay."""
        await self._threads(self._sync.delete, if_version=if_version)
