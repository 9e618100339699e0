"""Users of a tenant. Responses never contain a password or its hash."""

from msgspec import UNSET, UnsetType

from akidb.domain.documents import DEFAULT_PAGE_LIMIT, Page
from akidb.domain.entities import User, UserRole
from akidb.domain.errors import Unauthenticated
from akidb.domain.fields import Cursor, Email, GivenPassword, Limit, NewPassword, Role, Version
from akidb.domain.lifecycle import Access
from akidb.operations import tenants
from akidb.operations.declare import MANY, InTenant, OfUser, Work, operation

ALL = tenants.ONE + "/users"
ONE = ALL + "/{user}"


@operation("user.create", "POST", ALL, status=201, work=Work.PASSWORD, needs=Access.METADATA_WRITE)
class CreateUser(InTenant[User], kw_only=True, frozen=True):
    """Create an active user."""

    email: Email
    password: NewPassword
    role: Role = UserRole.VIEWER


@operation("user.list", "GET", ALL, needs=Access.METADATA_READ, more_with={"limit": (MANY, Work.HEAVY)})
class ListUsers(InTenant[Page[User]], kw_only=True, frozen=True):
    """List the users of a tenant, sorted by email."""

    limit: Limit = DEFAULT_PAGE_LIMIT
    cursor: Cursor | None = None


@operation("user.count", "GET", tenants.ONE + "/user-count", needs=Access.METADATA_READ, member="count")
class CountUsers(InTenant[int], kw_only=True, frozen=True):
    """Count the users of a tenant."""


@operation("user.get", "GET", ONE, needs=Access.METADATA_READ)
class GetUser(OfUser[User], kw_only=True, frozen=True):
    """Get a user by ID or email."""


@operation(
    "user.update",
    "PATCH",
    ONE,
    needs=Access.METADATA_WRITE,
    more_with={"password": (0, Work.PASSWORD)},
)
class UpdateUser(OfUser[User], kw_only=True, frozen=True):
    """Update fields of a user, or set a new password."""

    email: Email | UnsetType = UNSET
    role: Role | UnsetType = UNSET
    password: NewPassword | UnsetType = UNSET
    if_version: Version | None = None


@operation("user.activate", "POST", ONE + "/activate", needs=Access.METADATA_WRITE, grows=False)
class ActivateUser(OfUser[User], kw_only=True, frozen=True):
    """Activate a suspended or deactivated user."""

    if_version: Version | None = None


@operation("user.suspend", "POST", ONE + "/suspend", needs=Access.METADATA_WRITE, grows=False)
class SuspendUser(OfUser[User], kw_only=True, frozen=True):
    """Suspend an active user temporarily."""

    if_version: Version | None = None


@operation("user.deactivate", "POST", ONE + "/deactivate", needs=Access.METADATA_WRITE, grows=False)
class DeactivateUser(OfUser[User], kw_only=True, frozen=True):
    """Deactivate an active or suspended user who is leaving."""

    if_version: Version | None = None


@operation("user.delete", "DELETE", ONE, status=204, needs=Access.METADATA_WRITE, grows=False)
class DeleteUser(OfUser[None], kw_only=True, frozen=True):
    """Permanently remove a user; audit entries are kept."""

    if_version: Version | None = None


@operation(
    "user.verify_password",
    "POST",
    ALL + "/verify-password",
    needs=Access.METADATA_READ,
    changes=False,
    audited=True,
    work=Work.PASSWORD,
    raises=(Unauthenticated,),
)
class VerifyPassword(InTenant[User], kw_only=True, frozen=True):
    """Verify an email and password, and get the active user.

    An unknown email, a wrong password and an inactive user get the same response. Sets the user's
    `last_login_at`. Idempotency-Key is not supported: each request verifies the password again.
    """

    email: Email
    password: GivenPassword
