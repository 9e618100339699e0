"""Users as handles."""

from collections.abc import Iterator
from datetime import datetime
from typing import TypedDict, Unpack

from akidb.client.handles.base import Field, every, found
from akidb.client.results import Page
from akidb.domain import documents as domain
from akidb.domain.documents import DEFAULT_PAGE_LIMIT
from akidb.domain.entities import User, UserRole
from akidb.domain.errors import AlreadyExists
from akidb.domain.fields import UserRef
from akidb.domain.ids import TenantId, UserId
from akidb.domain.lifecycle import UserStatus
from akidb.operations import users
from akidb.operations.declare import Operations


class UserFields(TypedDict, total=False):
    """What may be changed of a user; what is left out stays."""

    email: str
    role: UserRole
    password: str


class Users:
    """The users of a tenant, each named by ID or email. Iterating goes over all of them, by email."""

    def __init__(self, operations: Operations, tenant: TenantId) -> None:
        self._operations = operations
        self._perform = operations.perform
        self._tenant = tenant

    def create(self, email: str, *, password: str, role: UserRole = UserRole.VIEWER) -> "UserHandle":
        """Create an active user, with a password of 8-1024 bytes.

        Raises AlreadyExists for an email that the tenant has, case ignored.
        """
        return self._handle(
            self._perform(users.CreateUser(tenant=self._tenant, email=email, password=password, role=role))
        )

    def get(self, user: UserRef) -> "UserHandle":
        """The user with this email or ID. Raises NotFound."""
        return self._handle(self._perform(users.GetUser(tenant=self._tenant, user=user)))

    def find(self, user: UserRef) -> "UserHandle | None":
        """The user with this email or ID, or None."""
        return found("user", lambda: self.get(user))

    def exists(self, user: UserRef) -> bool:
        """Whether there is a user with this email or ID."""
        return self.find(user) is not None

    def get_or_create(self, email: str, *, password: str, role: UserRole = UserRole.VIEWER) -> "UserHandle":
        """The user with this email; created, with the password and the role, when there is none.

        A user that exists is given as it is: neither its password nor its role is looked at.
        """
        if (user := self.find(email)) is not None:
            return user
        try:
            return self.create(email, password=password, role=role)
        except AlreadyExists as error:  # another was quicker
            if (user := self.find(email)) is None:
                raise error from None
            return user

    def list(self, *, limit: int = DEFAULT_PAGE_LIMIT, cursor: str | None = None) -> Page["UserHandle"]:
        """Up to `limit` users by email."""
        page = self._perform(users.ListUsers(tenant=self._tenant, limit=limit, cursor=cursor))
        return Page(map(self._handle, page.items), page.next_cursor)

    def __iter__(self) -> Iterator["UserHandle"]:
        return map(self._handle, every(self._page))

    def _page(self, cursor: str | None) -> domain.Page[User]:
        return self._perform(users.ListUsers(tenant=self._tenant, cursor=cursor))

    def count(self) -> int:
        """How many users there are."""
        return self._perform(users.CountUsers(tenant=self._tenant))

    def delete(self, user: UserRef, *, if_version: int | None = None) -> None:
        """Remove a user for good; the audit entries stay."""
        self._perform(users.DeleteUser(tenant=self._tenant, user=user, if_version=if_version))

    def verify_password(self, email: str, password: str) -> "UserHandle":
        """The active user who has this email and password; the time of it becomes `last_login_at`.

        Raises Unauthenticated for an unknown email, a wrong password and a user who is not active alike.
        """
        return self._handle(
            self._perform(users.VerifyPassword(tenant=self._tenant, email=email, password=password))
        )

    def _handle(self, entity: User) -> "UserHandle":
        return UserHandle(self._operations, entity)


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

    def __init__(self, operations: Operations, entity: User) -> None:
        self._operations = operations
        self._perform = operations.perform
        self._entity = entity

    def __repr__(self) -> str:
        return f"<user {self.email} {self.id}>"

    @property
    def entity(self) -> User:
        """The user as it was last read or changed through this handle."""
        return self._entity

    @property
    def id(self) -> UserId:
        """Its ID, which never changes."""
        return self._entity.user_id

    def refresh(self) -> None:
        """Read the user again."""
        self._entity = self._perform(users.GetUser(tenant=self.tenant_id, user=self.id))

    def update(self, *, if_version: int | None = None, **changes: Unpack[UserFields]) -> None:
        """Change fields, or set another password; what is left out stays."""
        self._entity = self._perform(
            users.UpdateUser(tenant=self.tenant_id, user=self.id, **changes, if_version=if_version)
        )

    def activate(self, *, if_version: int | None = None) -> None:
        """Let the suspended or deactivated user in again."""
        self._entity = self._perform(
            users.ActivateUser(tenant=self.tenant_id, user=self.id, if_version=if_version)
        )

    def suspend(self, *, if_version: int | None = None) -> None:
        """Keep the active user out for a while."""
        self._entity = self._perform(
            users.SuspendUser(tenant=self.tenant_id, user=self.id, if_version=if_version)
        )

    def deactivate(self, *, if_version: int | None = None) -> None:
        """Keep the user out who is to leave."""
        self._entity = self._perform(
            users.DeactivateUser(tenant=self.tenant_id, user=self.id, if_version=if_version)
        )

    def delete(self, *, if_version: int | None = None) -> None:
        """Remove the user for good; the audit entries stay."""
        self._perform(users.DeleteUser(tenant=self.tenant_id, user=self.id, if_version=if_version))
