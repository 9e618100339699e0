"""Users: create, update, suspend, delete, and verify passwords.

Passwords are hashed before a transaction begins.
"""

from contextlib import suppress
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from akidb.domain.documents import Page
from akidb.domain.entities import AuditResult, User
from akidb.domain.errors import Damaged, Unauthenticated
from akidb.domain.ids import IdGenerator, TenantId, UserId
from akidb.domain.lifecycle import PERMITTED, Access, TenantStatus, UserStatus, move
from akidb.observe import context
from akidb.operations import users as ask
from akidb.operations.declare import OPERATIONS, OfUser
from akidb.ports.metadata import MetadataStore, MetadataTransaction
from akidb.services.answer_limits import AnswerLimits
from akidb.services.denials import ACTION, Denials
from akidb.services.dispatch import handles, in_read, in_transaction
from akidb.services.passwords import Passwords
from akidb.services.purging import DAMAGED
from akidb.services.scope_cache import tenant_for
from akidb.services.transactions import Change, Transactions, check_version

VERIFY_ATTEMPTS = 3
"""Maximum verification attempts when the hash is replaced concurrently."""


class _HashChanged(Exception):
    """The password or its hash changed while it was being verified."""


class UserService:
    """Implements `akidb.operations.users`."""

    def __init__(
        self,
        metadata: MetadataStore,
        transactions: Transactions,
        passwords: Passwords,
        denials: Denials,
        ids: IdGenerator,
        limits: AnswerLimits,
    ) -> None:
        self._limits = limits
        self._metadata = metadata
        self._transactions = transactions
        self._passwords = passwords
        self._denials = denials
        self._ids = ids

    @handles(ask.CreateUser)
    def create(self, asked: ask.CreateUser) -> User:
        same = replace(asked, password=self._fingerprint(asked.password))
        password_hash = self._passwords.hash(asked.password)

        def effect(change: Change) -> User:
            owner = tenant_for(change.tx, asked.tenant, Access.METADATA_WRITE)
            user = User(
                user_id=self._ids.new(UserId),
                tenant_id=owner.tenant_id,
                email=asked.email,
                role=asked.role,
                created_at=change.now,
                updated_at=change.now,
            )
            change.tx.users.create(user, password_hash)
            change.audit("user.create", owner.tenant_id, user.user_id, metadata={"role": user.role})
            return user

        return self._transactions.carry_out(OPERATIONS[ask.CreateUser], same, effect)

    @in_read(ask.GetUser)
    def get(self, tx: MetadataTransaction, asked: ask.GetUser) -> User:
        return tx.users.get(tenant_for(tx, asked.tenant, Access.METADATA_READ).tenant_id, asked.user)

    @in_read(ask.ListUsers)
    def list(self, tx: MetadataTransaction, asked: ask.ListUsers) -> Page[User]:
        owner = tenant_for(tx, asked.tenant, Access.METADATA_READ)
        most = self._limits.max_bytes
        return tx.users.list(owner.tenant_id, limit=asked.limit, cursor=asked.cursor, most_bytes=most)

    @in_read(ask.CountUsers)
    def count(self, tx: MetadataTransaction, asked: ask.CountUsers) -> int:
        return tx.users.count(tenant_for(tx, asked.tenant, Access.METADATA_READ).tenant_id)

    @handles(ask.UpdateUser)
    def update(self, asked: ask.UpdateUser) -> User:
        values = OPERATIONS[ask.UpdateUser].given(asked)
        password, password_hash, same = values.pop("password", None), None, asked
        if asked.password is not UNSET:
            same = replace(asked, password=self._fingerprint(asked.password))
            password_hash = self._passwords.hash(asked.password)

        def effect(change: Change) -> User:
            found = _read(change, asked, asked.if_version)
            if password_hash is None and all(getattr(found, n) == value for n, value in values.items()):
                return found
            changed = found.changed(change.now, **values)
            change.tx.users.update(changed, password_hash=password_hash)
            named = [*values, *([] if password is None else ["password"])]
            codes = {"changed": named, **({"role": changed.role} if "role" in values else {})}
            change.audit("user.update", found.tenant_id, found.user_id, metadata=codes)
            return changed

        return self._transactions.carry_out(OPERATIONS[ask.UpdateUser], same, effect)

    @in_transaction(ask.ActivateUser)
    def activate(self, change: Change, asked: ask.ActivateUser) -> User:
        return _move(change, _read(change, asked, asked.if_version), UserStatus.ACTIVE, "activate")

    @in_transaction(ask.SuspendUser)
    def suspend(self, change: Change, asked: ask.SuspendUser) -> User:
        return _move(change, _read(change, asked, asked.if_version), UserStatus.SUSPENDED, "suspend")

    @in_transaction(ask.DeactivateUser)
    def deactivate(self, change: Change, asked: ask.DeactivateUser) -> User:
        return _move(change, _read(change, asked, asked.if_version), UserStatus.DEACTIVATED, "deactivate")

    @in_transaction(ask.DeleteUser)
    def delete(self, change: Change, asked: ask.DeleteUser) -> None:
        try:
            found = _read(change, asked, asked.if_version)
        except Damaged:
            if not isinstance(asked.user, UserId) or asked.if_version is not None:
                raise
            owner = tenant_for(change.tx, asked.tenant, Access.METADATA_WRITE)
            change.tx.users.remove(owner.tenant_id, asked.user, change.now)
            change.audit("user.delete", owner.tenant_id, asked.user, reason=DAMAGED)
            return
        change.tx.users.delete(found, change.now)
        change.audit("user.delete", found.tenant_id, found.user_id)

    @handles(ask.VerifyPassword)
    def verify_password(self, asked: ask.VerifyPassword) -> User:
        for _ in range(VERIFY_ATTEMPTS):
            with suppress(_HashChanged):
                return self._verify(asked)
        raise Unauthenticated

    def _verify(self, asked: ask.VerifyPassword) -> User:
        with self._metadata.read() as tx:
            tenant_id = tenant_for(tx, asked.tenant, Access.METADATA_READ).tenant_id
            user, known_hash = tx.users.find_with_hash(tenant_id, asked.email) or (None, None)
        is_right = self._passwords.verify(known_hash, asked.password) and user is not None and _may_ask(user)
        new_hash = None
        if is_right and known_hash is not None and self._passwords.is_outdated(known_hash):
            new_hash = self._passwords.hash(asked.password)
        if not is_right:
            self._require_same_hash(tenant_id, user, known_hash)
            if self._denials.count(tenant_id, tenant_id if user is None else user.user_id):
                raise Unauthenticated

        def effect(change: Change) -> list[User]:
            owner = tenant_for(change.tx, tenant_id, Access.METADATA_READ)
            resource = tenant_id if user is None else user.user_id
            found = None if user is None else change.tx.users.find_with_hash(tenant_id, user.user_id)
            if found is not None and found[1] != known_hash:
                raise _HashChanged
            # The user may have been suspended or deleted since the password was verified.
            if not is_right or found is None or not _may_ask(found[0]):
                change.audit(ACTION, tenant_id, resource, result=AuditResult.DENIED)
                return []
            change.audit(ACTION, tenant_id, resource)
            known, _ = found
            if Access.METADATA_WRITE not in PERMITTED[TenantStatus][owner.status]:
                return [known]  # for a suspended tenant only the audit entry is written
            seen = known.changed(change.now, last_login_at=change.now)
            change.tx.users.update(seen, password_hash=new_hash)
            return [seen]

        verified = self._transactions.run(None, list[User], effect)
        if not verified:
            raise Unauthenticated
        return verified[0]

    def _require_same_hash(self, tenant_id: TenantId, user: User | None, known_hash: str | None) -> None:
        if user is not None:
            with self._metadata.read() as tx:
                found = tx.users.find_with_hash(tenant_id, user.user_id)
            if found is not None and found[1] != known_hash:
                raise _HashChanged

    def _fingerprint(self, password: str) -> str:
        """Return the stand-in for a password in a request fingerprint; it is slow to brute-force."""
        key = context.current().idempotency_key
        return "" if key is None else self._passwords.fingerprint(password, key)


def _move(change: Change, found: User, target: UserStatus, verb: str) -> User:
    if not move(found.status, target):
        return found
    changed = found.changed(change.now, status=target)
    change.tx.users.update(changed)
    change.audit(f"user.{verb}", found.tenant_id, found.user_id)
    return changed


def _read(change: Change, asked: OfUser[Any], if_version: int | None) -> User:
    """Return the user to change, if the tenant's status permits changes."""
    owner = tenant_for(change.tx, asked.tenant, Access.METADATA_WRITE)
    found = change.tx.users.get(owner.tenant_id, asked.user)
    check_version(found, if_version)
    change.tenant_id = owner.tenant_id
    return found


def _may_ask(user: User) -> bool:
    """Whether the user's status permits any access."""
    return bool(PERMITTED[UserStatus][user.status])
