"""Handles of users."""

from collections.abc import Hashable, Iterator
from datetime import datetime
from typing import TypedDict, Unpack

from akidb.client.handles.base import Bound, Field, every, found, require_same, wanted
from akidb.client.results import Page
from akidb.domain import documents as domain
from akidb.domain.documents import DEFAULT_PAGE_LIMIT
from akidb.domain.entities import User, UserRole
from akidb.domain.errors import AlreadyExists
from akidb.domain.fields import UserRef
from akidb.domain.ids import TenantId, UserId
from akidb.domain.lifecycle import UserStatus
from akidb.domain.names import is_same_email
from akidb.operations import users
from akidb.operations.declare import Operations


class UserFields(TypedDict, total=False):
    """The fields of a user that can be changed; omitted fields keep their values."""

    email: str
    role: UserRole
    password: str


class Users(Bound):
    """The users of a tenant, identified by ID or email. Iterating yields all, sorted by email."""

    __slots__ = ("_tenant",)

    def __init__(self, operations: Operations, tenant: TenantId) -> None:
        super().__init__(operations)
        self._tenant = tenant

    def _key(self) -> Hashable:
        return self._tenant

    def create(self, email: str, *, password: str, role: UserRole = UserRole.VIEWER) -> "UserHandle":
        """Create an active user with a password of 8-1024 bytes.

        Raises AlreadyExists if the email is taken within the tenant, ignoring case.
        """
        return self._handle(
            self._perform(users.CreateUser(tenant=self._tenant, email=email, password=password, role=role))
        )

    def get(self, user: UserRef) -> "UserHandle":
        """Return the user with this email or ID. Raises NotFound."""
        return self._handle(self._perform(users.GetUser(tenant=self._tenant, user=user)))

    def find(self, user: UserRef) -> "UserHandle | None":
        """Return the user with this email or ID, or None."""
        return found("user", user, lambda: self.get(user))

    def exists(self, user: UserRef) -> bool:
        """Return whether a user with this email or ID exists."""
        return self.find(user) is not None

    def __contains__(self, user: object) -> bool:
        """Return whether a user with this email or ID, or of this handle, exists."""
        return self._contains(user, UserHandle, UserId, self.exists)

    def get_or_create(self, email: str, *, password: str, role: UserRole | None = None) -> "UserHandle":
        """Return the user with this email; create it if it does not exist, by default as a viewer.

        An existing user keeps its password, which is not compared. Raises AlreadyExists, with the `field`, if
        it has another role than a given one, or an email that differs in more than case, as `strasse@x` does
        from `straße@x`.
        """
        wanted(users.CreateUser, {"email": email, "password": password, "role": role})
        if (user := self.find(email)) is None:
            try:
                return self.create(email, password=password, role=role or UserRole.VIEWER)
            except AlreadyExists as error:  # created concurrently
                if (user := self.find(email)) is None:
                    raise error from None
        if not is_same_email(user.email, email):
            raise AlreadyExists("user", "email", email)
        require_same("user", user.email, user, {} if role is None else {"role": role})
        return user

    def list(self, *, limit: int = DEFAULT_PAGE_LIMIT, cursor: str | None = None) -> Page["UserHandle"]:
        """Return up to `limit` users, sorted by email."""
        page = self._perform(users.ListUsers(tenant=self._tenant, limit=limit, cursor=cursor))
        return Page(map(self._handle, page.items), page.next_cursor, page.damaged)

    def __iter__(self) -> Iterator["UserHandle"]:
        return map(self._handle, every(self._page))

    def _page(self, cursor: str | None) -> domain.Page[User]:
        return self._perform(users.ListUsers(tenant=self._tenant, cursor=cursor))

    def count(self) -> int:
        """Return the number of users."""
        return self._perform(users.CountUsers(tenant=self._tenant))

    def delete(self, user: UserRef, *, if_version: int | None = None) -> None:
        """Permanently remove a user; audit entries are kept."""
        self._perform(users.DeleteUser(tenant=self._tenant, user=user, if_version=if_version))

    def verify_password(self, email: str, password: str) -> "UserHandle":
        """Return the active user with this email and password, and set its `last_login_at`.

        Raises the same Unauthenticated for an unknown email, a wrong password and an inactive user.
        """
        return self._handle(
            self._perform(users.VerifyPassword(tenant=self._tenant, email=email, password=password))
        )

    def _handle(self, entity: User) -> "UserHandle":
        return UserHandle(self._operations, entity)


class UserHandle(Bound):
    """A user of a tenant. The password can be set and verified, but never read.

    With `if_version`, a method changes the user only if it has that version; otherwise it changes
    nothing and raises PreconditionFailed.
    """

    __slots__ = ("_entity",)
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

    def __init__(self, operations: Operations, entity: User) -> None:
        super().__init__(operations)
        self._entity = entity

    def _key(self) -> Hashable:
        return self.id

    def __repr__(self) -> str:
        return f"<user {self.email} {self.id}>"

    @property
    def entity(self) -> User:
        """The user as last read or changed through this handle."""
        return self._entity

    @property
    def id(self) -> UserId:
        """The ID of the user; it never changes."""
        return self._entity.user_id

    def refresh(self) -> None:
        """Reload the user."""
        self._entity = self._perform(users.GetUser(tenant=self.tenant_id, user=self.id))

    def update(self, *, if_version: int | None = None, **changes: Unpack[UserFields]) -> None:
        """Change fields or set a new password; omitted fields keep their values."""
        self._entity = self._perform(
            users.UpdateUser(tenant=self.tenant_id, user=self.id, **changes, if_version=if_version)
        )

    def activate(self, *, if_version: int | None = None) -> None:
        """Activate the suspended or deactivated user."""
        self._entity = self._perform(
            users.ActivateUser(tenant=self.tenant_id, user=self.id, if_version=if_version)
        )

    def suspend(self, *, if_version: int | None = None) -> None:
        """Suspend the active user, temporarily blocking login."""
        self._entity = self._perform(
            users.SuspendUser(tenant=self.tenant_id, user=self.id, if_version=if_version)
        )

    def deactivate(self, *, if_version: int | None = None) -> None:
        """Deactivate the user, blocking login, before its removal."""
        self._entity = self._perform(
            users.DeactivateUser(tenant=self.tenant_id, user=self.id, if_version=if_version)
        )

    def delete(self, *, if_version: int | None = None) -> None:
        """Permanently remove the user; audit entries are kept."""
        self._perform(users.DeleteUser(tenant=self.tenant_id, user=self.id, if_version=if_version))
