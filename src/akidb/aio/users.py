"""Handles of users.

The awaitable twin of `akidb.client.handles.users`, generated from it by `tools/generate_aio.py`.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Unpack

from akidb.aio.base import Twin
from akidb.client.handles import users as sync
from akidb.client.handles.base import Field
from akidb.client.handles.users import UserFields
from akidb.client.results import Page
from akidb.domain.documents import DEFAULT_PAGE_LIMIT
from akidb.domain.entities import User, UserRole
from akidb.domain.fields import UserRef
from akidb.domain.ids import TenantId, UserId
from akidb.domain.lifecycle import UserStatus


class Users(Twin[sync.Users]):
    """The users of a tenant, identified by ID or email. Iterating yields all, sorted by email."""

    __slots__ = ()

    async def create(self, email: str, *, password: str, role: UserRole = UserRole.VIEWER) -> "UserHandle":
        """Create an active user with a password of 8-1024 bytes.

        Raises AlreadyExists if the email is taken within the tenant, ignoring case.
        """
        return UserHandle(
            await self._threads(self._sync.create, email, password=password, role=role), self._threads
        )

    async def get(self, user: UserRef) -> "UserHandle":
        """Return the user with this email or ID. Raises NotFound."""
        return UserHandle(await self._threads(self._sync.get, user), self._threads)

    async def find(self, user: UserRef) -> "UserHandle | None":
        """Return the user with this email or ID, or None."""
        found = await self._threads(self._sync.find, user)
        return None if found is None else UserHandle(found, self._threads)

    async def exists(self, user: UserRef) -> bool:
        """Return whether a user with this email or ID exists."""
        return await self._threads(self._sync.exists, user)

    async def get_or_create(self, email: str, *, password: str, role: UserRole | None = None) -> "UserHandle":
        """Return the user with this email; create it if it does not exist, by default as a viewer.

        An existing user keeps its password, which is not compared. Raises AlreadyExists, with the `field`, if
        it has another role than a given one, or an email that differs in more than case, as `strasse@x` does
        from `straße@x`.
        """
        return UserHandle(
            await self._threads(self._sync.get_or_create, email, password=password, role=role), self._threads
        )

    async def list(self, *, limit: int = DEFAULT_PAGE_LIMIT, cursor: str | None = None) -> Page["UserHandle"]:
        """Return up to `limit` users, sorted by email."""
        page = await self._threads(self._sync.list, limit=limit, cursor=cursor)
        return Page((UserHandle(item, self._threads) for item in page), page.next_cursor, page.damaged)

    async def __aiter__(self) -> AsyncIterator["UserHandle"]:
        async for item in self._threads.iterate(self._sync):
            yield UserHandle(item, self._threads)

    async def count(self) -> int:
        """Return the number of users."""
        return await self._threads(self._sync.count)

    async def delete(self, user: UserRef, *, if_version: int | None = None) -> None:
        """Permanently remove a user; audit entries are kept."""
        await self._threads(self._sync.delete, user, if_version=if_version)

    async def verify_password(self, email: str, password: str) -> "UserHandle":
        """Return the active user with this email and password, and set its `last_login_at`.

        Raises the same Unauthenticated for an unknown email, a wrong password and an inactive user.
        """
        return UserHandle(await self._threads(self._sync.verify_password, email, password), self._threads)


class UserHandle(Twin[sync.UserHandle]):
    """A user of a tenant. The password can be set and verified, but never read.

    With `if_version`, a method changes the user only if it has that version; otherwise it changes
    nothing and raises PreconditionFailed.
    """

    __slots__ = ()
    _changed_by = "use update(), activate(), suspend() or deactivate()"
    tenant_id = Field[TenantId]()
    email = Field[str]()
    role = Field[UserRole]()
    status = Field[UserStatus]()
    last_login_at = Field[datetime | None]()
    created_by = Field[UserId | None]()
    version = Field[int]()
    created_at = Field[datetime]()
    updated_at = Field[datetime]()

    def __repr__(self) -> str:
        return repr(self._sync)

    @property
    def entity(self) -> User:
        """The user as last read or changed through this handle."""
        return self._sync.entity

    @property
    def id(self) -> UserId:
        """The ID of the user; it never changes."""
        return self._sync.id

    async def refresh(self) -> None:
        """Reload the user."""
        await self._threads(self._sync.refresh)

    async def update(self, *, if_version: int | None = None, **changes: Unpack[UserFields]) -> None:
        """Change fields or set a new password; omitted fields keep their values."""
        await self._threads(self._sync.update, if_version=if_version, **changes)

    async def activate(self, *, if_version: int | None = None) -> None:
        """Activate the suspended or deactivated user."""
        await self._threads(self._sync.activate, if_version=if_version)

    async def suspend(self, *, if_version: int | None = None) -> None:
        """Suspend the active user, temporarily blocking login."""
        await self._threads(self._sync.suspend, if_version=if_version)

    async def deactivate(self, *, if_version: int | None = None) -> None:
        """Deactivate the user, blocking login, before its removal."""
        await self._threads(self._sync.deactivate, if_version=if_version)

    async def delete(self, *, if_version: int | None = None) -> None:
        """Permanently remove the user; audit entries are kept."""
        await self._threads(self._sync.delete, if_version=if_version)
