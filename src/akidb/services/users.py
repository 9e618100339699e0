"""Users: created, changed, kept out, deleted, and known by their password."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from msgspec import UNSET

from akidb.domain.documents import DEFAULT_PAGE_LIMIT, MAX_PAGE_LIMIT, Page
from akidb.domain.entities import AuditResult, User, UserRole
from akidb.domain.errors import Unauthenticated
from akidb.domain.ids import IdGenerator, UserId
from akidb.domain.lifecycle import PERMITTED, Access, TenantStatus, UserStatus, move
from akidb.domain.names import (
    MAX_PASSWORD_BYTES,
    check_email,
    check_integer,
    check_password,
    check_text,
    check_word,
    parse_reference,
)
from akidb.observe import context
from akidb.ports.metadata import MetadataStore
from akidb.ports.operations import TenantRef
from akidb.ports.users import UserChanges, UserRef
from akidb.services.admission import Admission, operation
from akidb.services.passwords import Passwords
from akidb.services.scope_cache import tenant_for
from akidb.services.transactions import Change, Transactions, check_version

VERIFY_ATTEMPTS = 3
"""How often a password is looked at again because its hash was replaced meanwhile."""


class _HashChanged(Exception):
    """The password was set, or its hash made anew, while it was being verified."""


class UserService:
    """`akidb.ports.users.UserOperations` in process. Passwords are hashed before a transaction begins."""

    def __init__(
        self,
        admission: Admission,
        metadata: MetadataStore,
        changes: Transactions,
        passwords: Passwords,
        ids: IdGenerator,
    ) -> None:
        self.admission = admission
        self._metadata = metadata
        self._changes = changes
        self._passwords = passwords
        self._ids = ids

    @operation
    def create(
        self, tenant: TenantRef, email: str, *, password: str, role: UserRole = UserRole.VIEWER
    ) -> User:
        """Create an active user."""
        values: dict[str, Any] = {"email": check_email(email), "role": check_word(UserRole, role, "role")}
        arguments = {**values, **self._fingerprint(check_password(password))}
        password_hash = self._passwords.hash(password)

        def effect(change: Change) -> User:
            owner = tenant_for(change.tx, tenant, Access.METADATA_WRITE)
            user = User(
                user_id=self._ids.new(UserId),
                tenant_id=owner.tenant_id,
                created_at=change.now,
                updated_at=change.now,
                **values,
            )
            change.tx.users.create(user, password_hash)
            change.audit("user.create", owner.tenant_id, user.user_id, metadata={"role": user.role})
            return user

        return self._changes.carry_out("users.create", (tenant,), arguments, User, effect)

    @operation
    def get(self, tenant: TenantRef, user: UserRef) -> User:
        """One user."""
        reference = parse_reference(UserId, user)
        with self._metadata.read() as tx:
            return tx.users.get(tenant_for(tx, tenant, Access.METADATA_READ).tenant_id, reference)

    @operation
    def list(
        self, tenant: TenantRef, *, limit: int = DEFAULT_PAGE_LIMIT, cursor: str | None = None
    ) -> Page[User]:
        """Users by email."""
        check_integer(limit, "limit", 1, MAX_PAGE_LIMIT)
        with self._metadata.read() as tx:
            owner = tenant_for(tx, tenant, Access.METADATA_READ)
            return tx.users.list(owner.tenant_id, limit=limit, cursor=cursor)

    @operation
    def count(self, tenant: TenantRef) -> int:
        """How many users there are."""
        with self._metadata.read() as tx:
            return tx.users.count(tenant_for(tx, tenant, Access.METADATA_READ).tenant_id)

    @operation
    def update(
        self, tenant: TenantRef, user: UserRef, changes: UserChanges, *, if_version: int | None = None
    ) -> User:
        """Change fields of a user, or set another password."""
        values: dict[str, Any] = {}
        if changes.email is not UNSET:
            values["email"] = check_email(changes.email)
        if changes.role is not UNSET:
            values["role"] = check_word(UserRole, changes.role, "role")
        arguments, password_hash = dict(values), None
        if changes.password is not UNSET:
            arguments |= self._fingerprint(check_password(changes.password))
            password_hash = self._passwords.hash(changes.password)

        def effect(change: Change) -> User:
            found = self._read(change, tenant, user, if_version)
            if password_hash is None and all(getattr(found, n) == value for n, value in values.items()):
                return found
            changed = found.changed(change.now, **values)
            change.tx.users.update(changed, password_hash=password_hash)
            named = [*values, *([] if password_hash is None else ["password"])]
            codes = {"changed": named, **({"role": changed.role} if "role" in values else {})}
            change.audit("user.update", found.tenant_id, found.user_id, metadata=codes)
            return changed

        path, given = (tenant, user), [arguments, if_version]
        return self._changes.carry_out("users.update", path, given, User, effect)

    @operation
    def activate(self, tenant: TenantRef, user: UserRef, *, if_version: int | None = None) -> User:
        """Let a suspended or deactivated user in again."""
        return self._move(tenant, user, UserStatus.ACTIVE, "activate", if_version)

    @operation
    def suspend(self, tenant: TenantRef, user: UserRef, *, if_version: int | None = None) -> User:
        """Keep an active user out for a while."""
        return self._move(tenant, user, UserStatus.SUSPENDED, "suspend", if_version)

    @operation
    def deactivate(self, tenant: TenantRef, user: UserRef, *, if_version: int | None = None) -> User:
        """Keep a user out who is to leave."""
        return self._move(tenant, user, UserStatus.DEACTIVATED, "deactivate", if_version)

    @operation
    def delete(self, tenant: TenantRef, user: UserRef, *, if_version: int | None = None) -> None:
        """Remove a user for good."""

        def effect(change: Change) -> None:
            found = self._read(change, tenant, user, if_version)
            change.tx.users.delete(found, change.now)
            change.audit("user.delete", found.tenant_id, found.user_id)

        self._changes.carry_out("users.delete", (tenant, user), if_version, type(None), effect)

    @operation
    def verify_password(self, tenant: TenantRef, email: str, password: str) -> User:
        """The active user who has this email and password."""
        check_email(email)
        check_text(password, "password", maximum_bytes=MAX_PASSWORD_BYTES)
        for _ in range(VERIFY_ATTEMPTS):
            with suppress(_HashChanged):
                return self._verify(tenant, email, password)
        raise Unauthenticated

    def _verify(self, tenant: TenantRef, email: str, password: str) -> User:
        with self._metadata.read() as tx:
            tenant_id = tenant_for(tx, tenant, Access.METADATA_READ).tenant_id
            user, known_hash = tx.users.find_with_hash(tenant_id, email) or (None, None)
        is_right = self._passwords.verify(known_hash, password) and user is not None and _is_let_in(user)
        new_hash = None
        if is_right and known_hash is not None and self._passwords.is_outdated(known_hash):
            new_hash = self._passwords.hash(password)

        def effect(change: Change) -> list[User]:
            owner = tenant_for(change.tx, tenant_id, Access.METADATA_READ)
            resource = tenant_id if user is None else user.user_id
            found = None if user is None else change.tx.users.find_with_hash(tenant_id, user.user_id)
            if found is not None and found[1] != known_hash:
                raise _HashChanged
            # The user may have been kept out, or deleted, since the password was looked at.
            if not is_right or found is None or not _is_let_in(found[0]):
                change.audit("user.verify_password", tenant_id, resource, result=AuditResult.DENIED)
                return []
            change.audit("user.verify_password", tenant_id, resource)
            known, _ = found
            if Access.METADATA_WRITE not in PERMITTED[TenantStatus][owner.status]:
                return [known]  # of a suspended tenant nothing is written but the audit
            seen = known.changed(change.now, last_login_at=change.now)
            change.tx.users.update(seen, password_hash=new_hash)
            return [seen]

        verified = self._changes.carry_out(
            "users.verify_password", (tenant_id,), None, list[User], effect, takes_key=False
        )
        if not verified:
            raise Unauthenticated
        return verified[0]

    def _move(
        self, tenant: TenantRef, user: UserRef, target: UserStatus, verb: str, if_version: int | None
    ) -> User:
        def effect(change: Change) -> User:
            found = self._read(change, tenant, user, if_version)
            if not move(found.status, target):
                return found
            changed = found.changed(change.now, status=target)
            change.tx.users.update(changed)
            change.audit(f"user.{verb}", found.tenant_id, found.user_id)
            return changed

        return self._changes.carry_out(f"users.{verb}", (tenant, user), if_version, User, effect)

    @staticmethod
    def _read(change: Change, tenant: TenantRef, user: UserRef, if_version: int | None) -> User:
        """The user, when the tenant lets its metadata be written."""
        owner = tenant_for(change.tx, tenant, Access.METADATA_WRITE)
        found = change.tx.users.get(owner.tenant_id, parse_reference(UserId, user))
        check_version(found, if_version)
        change.tenant_id = owner.tenant_id
        return found

    def _fingerprint(self, password: str) -> Mapping[str, str]:
        """What is remembered of a password with an idempotency key: nothing that is quick to try."""
        key = context.current().idempotency_key
        return {} if key is None else {"password": self._passwords.fingerprint(password, key)}


def _is_let_in(user: User) -> bool:
    """Whether there is anything that the user may ask for."""
    return bool(PERMITTED[UserStatus][user.status])
