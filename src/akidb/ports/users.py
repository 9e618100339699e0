"""What a user of AkiDB can ask about the users of a tenant; a part of `akidb.ports.operations`.

It stands apart because its Structs carry passwords, which no `repr` may show.
"""

from typing import TYPE_CHECKING, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from akidb.domain.documents import DEFAULT_PAGE_LIMIT, Page
from akidb.domain.entities import User, UserRole
from akidb.domain.ids import UserId

if TYPE_CHECKING:
    from akidb.ports.operations import TenantRef

UserRef = UserId | str
"""The typed ID, its text, or the email, in which case makes no difference."""


class RedactedStruct(msgspec.Struct, frozen=True):
    """A Struct whose `repr` leaves its password out: those end up in logs."""

    def __repr__(self) -> str:
        fields = (name for name in self.__struct_fields__ if name != "password")
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in fields)})"


class UserChanges(RedactedStruct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What to change of a user; what is UNSET stays."""

    email: str | UnsetType = UNSET
    role: UserRole | UnsetType = UNSET
    password: str | UnsetType = UNSET


class UserOperations(Protocol):
    """Users of a tenant. No answer holds a password or its hash."""

    def create(
        self, tenant: "TenantRef", email: str, *, password: str, role: UserRole = UserRole.VIEWER
    ) -> User:
        """Create an active user. Raises AlreadyExists for an email that the tenant has, case ignored."""
        ...

    def get(self, tenant: "TenantRef", user: UserRef) -> User:
        """One user."""
        ...

    def list(
        self, tenant: "TenantRef", *, limit: int = DEFAULT_PAGE_LIMIT, cursor: str | None = None
    ) -> Page[User]:
        """Users by email, case ignored."""
        ...

    def count(self, tenant: "TenantRef") -> int:
        """How many users there are."""
        ...

    def update(
        self, tenant: "TenantRef", user: UserRef, changes: UserChanges, *, if_version: int | None = None
    ) -> User:
        """Change fields of a user, or set another password."""
        ...

    def activate(self, tenant: "TenantRef", user: UserRef, *, if_version: int | None = None) -> User:
        """Let a suspended or deactivated user in again."""
        ...

    def suspend(self, tenant: "TenantRef", user: UserRef, *, if_version: int | None = None) -> User:
        """Keep an active user out for a while."""
        ...

    def deactivate(self, tenant: "TenantRef", user: UserRef, *, if_version: int | None = None) -> User:
        """Keep a user out who is to leave."""
        ...

    def delete(self, tenant: "TenantRef", user: UserRef, *, if_version: int | None = None) -> None:
        """Remove a user for good; there is no way back. The audit entries stay."""
        ...

    def verify_password(self, tenant: "TenantRef", email: str, password: str) -> User:
        """The active user who has this email and password; the time of it becomes `last_login_at`.

        Raises Unauthenticated for an unknown email, a wrong password and a user who is not active alike,
        and after the same work. It takes no idempotency key: each call looks at the password anew.
        """
        ...
