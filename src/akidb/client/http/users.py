"""Users over HTTP."""

# ruff: noqa: D102 - the port says what each method does

from akidb.client.http import checks
from akidb.client.http.caller import Caller
from akidb.client.http.checks import changed, checked
from akidb.client.http.paths import Count, page_query, tenant_path, user_path, users_path
from akidb.domain.documents import DEFAULT_PAGE_LIMIT, Page
from akidb.domain.entities import User, UserRole
from akidb.domain.names import MAX_PASSWORD_BYTES, check_email, check_text
from akidb.ports.operations import TenantRef
from akidb.ports.users import UserChanges, UserRef


class HttpUsers:
    """`akidb.ports.users.UserOperations` of a server."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def create(
        self, tenant: TenantRef, email: str, *, password: str, role: UserRole = UserRole.VIEWER
    ) -> User:
        fields = checked({"email": email, "role": role, "password": password}, checks.USER)
        return self._caller.post(User, users_path(tenant), fields)

    def get(self, tenant: TenantRef, user: UserRef) -> User:
        return self._caller.get(User, user_path(tenant, user))

    def list(
        self, tenant: TenantRef, *, limit: int = DEFAULT_PAGE_LIMIT, cursor: str | None = None
    ) -> Page[User]:
        return self._caller.get(Page[User], users_path(tenant), page_query(limit, cursor))

    def count(self, tenant: TenantRef) -> int:
        return self._caller.get(Count, f"{tenant_path(tenant)}/user-count").count

    def update(
        self, tenant: TenantRef, user: UserRef, changes: UserChanges, *, if_version: int | None = None
    ) -> User:
        fields = checked(changed(changes), checks.USER)
        return self._caller.patch(User, user_path(tenant, user), fields, if_version=if_version)

    def activate(self, tenant: TenantRef, user: UserRef, *, if_version: int | None = None) -> User:
        return self._caller.post(User, f"{user_path(tenant, user)}/activate", if_version=if_version)

    def suspend(self, tenant: TenantRef, user: UserRef, *, if_version: int | None = None) -> User:
        return self._caller.post(User, f"{user_path(tenant, user)}/suspend", if_version=if_version)

    def deactivate(self, tenant: TenantRef, user: UserRef, *, if_version: int | None = None) -> User:
        return self._caller.post(User, f"{user_path(tenant, user)}/deactivate", if_version=if_version)

    def delete(self, tenant: TenantRef, user: UserRef, *, if_version: int | None = None) -> None:
        self._caller.delete(user_path(tenant, user), if_version=if_version)

    def verify_password(self, tenant: TenantRef, email: str, password: str) -> User:
        check_email(email)
        check_text(password, "password", maximum_bytes=MAX_PASSWORD_BYTES)
        fields = {"email": email, "password": password}
        return self._caller.ask(User, f"{users_path(tenant)}/verify-password", fields)
