"""Routes of users. No answer holds a password or its hash."""

from akidb.api.lists import Count, PageQuery
from akidb.api.routing import Call, Routes
from akidb.domain.documents import Page
from akidb.domain.entities import User, UserRole
from akidb.domain.errors import Unauthenticated
from akidb.ports.users import RedactedStruct, UserChanges

routes = Routes("users")

_ALL = "/v1/tenants/{tenant}/users"
_ONE = _ALL + "/{user}"


class UserCreation(RedactedStruct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """A user to be made."""

    email: str
    password: str
    role: UserRole = UserRole.VIEWER


class PasswordCheck(RedactedStruct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Who somebody says to be, and the proof."""

    email: str
    password: str


@routes.post(_ALL, status=201, slow=True)
def create(call: Call, body: UserCreation) -> User:
    """Create an active user."""
    return call.operations.users.create(call.tenant, body.email, password=body.password, role=body.role)


@routes.get(_ALL)
def list_(call: Call, query: PageQuery) -> Page[User]:
    """List the users of a tenant by email."""
    return call.operations.users.list(call.tenant, limit=query.limit, cursor=query.cursor)


@routes.post(_ALL + "/verify-password", changes=False, slow=True, raises=(Unauthenticated,))
def verify_password(call: Call, body: PasswordCheck) -> User:
    """Get the active user who has this email and password.

    An unknown email, a wrong password and a user who is not active are answered alike. The time of it
    becomes `last_login_at`. No Idempotency-Key is taken: each request looks at the password anew.
    """
    return call.operations.users.verify_password(call.tenant, body.email, body.password)


@routes.get("/v1/tenants/{tenant}/user-count")
def count(call: Call) -> Count:
    """Count the users of a tenant."""
    return Count(call.operations.users.count(call.tenant))


@routes.get(_ONE)
def get(call: Call) -> User:
    """Get a user by ID or email."""
    return call.operations.users.get(call.tenant, call.user)


@routes.patch(_ONE, slow=True)
def update(call: Call, body: UserChanges, if_version: int | None) -> User:
    """Change fields of a user, or set another password."""
    return call.operations.users.update(call.tenant, call.user, body, if_version=if_version)


@routes.delete(_ONE)
def delete(call: Call, if_version: int | None) -> None:
    """Remove a user for good."""
    call.operations.users.delete(call.tenant, call.user, if_version=if_version)


@routes.post(_ONE + "/activate")
def activate(call: Call, if_version: int | None) -> User:
    """Let a suspended or deactivated user in again."""
    return call.operations.users.activate(call.tenant, call.user, if_version=if_version)


@routes.post(_ONE + "/suspend")
def suspend(call: Call, if_version: int | None) -> User:
    """Keep an active user out for a while."""
    return call.operations.users.suspend(call.tenant, call.user, if_version=if_version)


@routes.post(_ONE + "/deactivate")
def deactivate(call: Call, if_version: int | None) -> User:
    """Keep a user out who is to leave."""
    return call.operations.users.deactivate(call.tenant, call.user, if_version=if_version)
