"""Users in the metadata store: lookup by ID or email, versions, tenant isolation, password hashes."""

import threading
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec.structs import replace
from samples import REFUSED, Clock, Library, RawSql

from akidb.domain.entities import Tenant, User, UserRole
from akidb.domain.errors import AlreadyExists, InvalidArgument, NotFound, PreconditionFailed
from akidb.domain.ids import TenantId, UserId
from akidb.domain.lifecycle import UserStatus
from akidb.ports.metadata import MetadataStore, MetadataTransaction

HASH = "$argon2id$v=19$m=65536,t=3,p=4$c2FsdHNhbHRzYWx0c2FsdA$dGFn"
OTHER_HASH = HASH.replace("dGFn", "dGFu")
UNKNOWN = UserId(b"\1" * 16)

WRONG: list[tuple[str, Any]] = [
    *[("email", email) for email in ["", "a", "@x", "a@", "a@b@c", "x@" + "y" * 253]],
    *[("email_key", key) for key in ["Bob@x", "alice@x", ""]],
    *[("password_hash", text) for text in ["", "secret", "$argon2i$v=19$m=8", "$2b$12$x"]],
    *[("role", word) for word in ["", "owner", "ADMIN"]],
    *[("status", word) for word in ["", "ready", "deleted", "ACTIVE"]],
    *[("version", number) for number in [0, -1]],
    *[("tenant_id", bytes(16)), ("created_by", bytes(16))],
    *[(column, None) for column in ["email", "email_key", "password_hash", "role", "status", "tenant_id"]],
]


class Staff:
    """Users of one tenant, each made in a transaction of its own."""

    def __init__(self, library: Library, slug: str = "aki-labs") -> None:
        self.library = library
        self.metadata = library.metadata
        self.tenant: Tenant = library.tenant(slug)

    def new(self, email: str = "Bob@x", **fields: Any) -> User:
        """A user who is not stored."""
        now = self.library.clock.now
        return User(
            user_id=self.library.ids.new(UserId),
            tenant_id=self.tenant.tenant_id,
            email=email,
            **{"created_at": now, "updated_at": now, **fields},
        )

    def user(self, email: str = "Bob@x", **fields: Any) -> User:
        made = self.new(email, **fields)
        with self.metadata.transaction() as tx:
            tx.users.create(made, HASH)
        return made

    def find(self, user: UserId | str) -> User | None:
        with self.metadata.read() as tx:
            return tx.users.find(self.tenant.tenant_id, user)

    def hash_of(self, user: UserId | str) -> str | None:
        with self.metadata.read() as tx:
            found = tx.users.find_with_hash(self.tenant.tenant_id, user)
        return None if found is None else found[1]

    def emails(self, **how: Any) -> list[str]:
        with self.metadata.read() as tx:
            page = tx.users.list(self.tenant.tenant_id, **{"limit": 1000, "cursor": None, **how})
        return [user.email for user in page.items]


@pytest.fixture
def staff(library: Library) -> Staff:
    return Staff(library)


def test_user_round_trips(staff: Staff, clock: Clock) -> None:
    creator = staff.user("admin@x", role=UserRole.ADMIN)
    made = staff.user(
        "\u00dcn\u00ef@ex\u00e4mple.org",
        role=UserRole.AUDITOR,
        status=UserStatus.SUSPENDED,
        last_login_at=clock.advance(seconds=0.123457),
        created_by=creator.user_id,
    )
    with staff.metadata.read() as tx:
        for reference in (made.user_id, made.email, made.email.upper(), "u\u0308NI\u0308@EXA\u0308MPLE.org"):
            assert tx.users.get(staff.tenant.tenant_id, reference) == made
            assert tx.users.find_with_hash(staff.tenant.tenant_id, reference) == (made, HASH)


def test_unknown_user_is_not_found(staff: Staff) -> None:
    staff.user()
    for reference in (UNKNOWN, "bob@y"):
        assert staff.find(reference) is None
        assert staff.hash_of(reference) is None
        with pytest.raises(NotFound) as caught, staff.metadata.read() as tx:
            tx.users.get(staff.tenant.tenant_id, reference)
        assert caught.value.fields == {"entity": "user", "id": str(reference)}


def test_user_of_another_tenant_is_not_found(staff: Staff, library: Library) -> None:
    other = Staff(library, "other")
    foreign = other.user()
    assert staff.find(foreign.user_id) is None
    assert staff.find(foreign.email) is None
    moved = replace(foreign.changed(library.clock.now), tenant_id=staff.tenant.tenant_id)
    with pytest.raises(NotFound), staff.metadata.transaction() as tx:
        tx.users.update(moved, password_hash=OTHER_HASH)
    with pytest.raises(NotFound), staff.metadata.transaction() as tx:
        tx.users.delete(replace(moved, version=1), library.clock.now)
    assert other.find(foreign.user_id) == foreign
    assert other.hash_of(foreign.user_id) == HASH


@pytest.mark.parametrize("email", ["bob@x", "BOB@X", "Bob@x"])
def test_email_is_unique_per_tenant_case_insensitively(staff: Staff, library: Library, email: str) -> None:
    staff.user("Bob@x")
    with pytest.raises(AlreadyExists) as caught:
        staff.user(email)
    assert caught.value.fields == {"entity": "user", "field": "email", "value": email}
    Staff(library, "other").user(email)


@pytest.mark.parametrize(("one", "other"), [("stra\u00dfe@x", "STRASSE@x"), ("\u0416@x", "\u0436@x")])
def test_non_latin_emails_fold_identically_on_both_databases(staff: Staff, one: str, other: str) -> None:
    made = staff.user(one)
    with pytest.raises(AlreadyExists):
        staff.user(other)
    assert staff.find(other) == made


def test_concurrent_creates_of_same_email_succeed_once(staff: Staff) -> None:
    answers: list[str] = []
    start = threading.Barrier(8)

    def race(number: int) -> None:
        start.wait()
        try:
            staff.user("bob@x" if number % 2 else "BOB@x")
            answers.append("made")
        except AlreadyExists as error:
            answers.append(str(error.fields["field"]))

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == ["email"] * 7 + ["made"]


def test_users_are_paged_by_email_case_insensitively(staff: Staff) -> None:
    emails = ["b@x", "A@x", "a-b@x", "Z@x", "a.b@x", "\u00e4@x", "B2@x", "a@y", "ab@x"]
    for email in emails:
        staff.user(email)
    wanted = sorted(emails, key=str.lower)
    assert staff.emails() == wanted
    seen, cursor = [], None
    while True:
        with staff.metadata.read() as tx:
            page = tx.users.list(staff.tenant.tenant_id, limit=2, cursor=cursor)
        seen += [user.email for user in page.items]
        staff.user(f"_{len(seen)}@x")  # sorts before all of them
        if (cursor := page.next_cursor) is None:
            break
    assert seen == wanted


def test_cursor_is_bound_to_its_tenant(staff: Staff, library: Library) -> None:
    for email in ("a@x", "b@x"):
        staff.user(email)
    with staff.metadata.read() as tx:
        cursor = tx.users.list(staff.tenant.tenant_id, limit=1, cursor=None).next_cursor
    with pytest.raises(InvalidArgument):
        Staff(library, "other").emails(cursor=cursor)


def test_update_increments_version(staff: Staff, clock: Clock) -> None:
    made = staff.user()
    changed = made.changed(
        clock.advance(seconds=1), email="rob@x", role=UserRole.ADMIN, last_login_at=clock.now
    )
    with staff.metadata.transaction() as tx:
        tx.users.update(changed)
    assert staff.find("ROB@x") == changed
    assert staff.find("bob@x") is None
    assert staff.hash_of("rob@x") == HASH
    with staff.metadata.transaction() as tx:
        tx.users.update(changed.changed(clock.now), password_hash=OTHER_HASH)
    assert staff.hash_of("rob@x") == OTHER_HASH


def test_stale_version_changes_nothing(staff: Staff, clock: Clock) -> None:
    made = staff.user()
    newer = made.changed(clock.now, role=UserRole.ADMIN)
    with staff.metadata.transaction() as tx:
        tx.users.update(newer)
    with pytest.raises(PreconditionFailed) as caught, staff.metadata.transaction() as tx:
        tx.users.update(made.changed(clock.now, email="x@x"), password_hash=OTHER_HASH)
    assert caught.value.fields == {"entity": "user", "expected": 1, "actual": 2}
    with pytest.raises(PreconditionFailed) as caught, staff.metadata.transaction() as tx:
        tx.users.delete(made, clock.now)
    assert caught.value.fields == {"entity": "user", "expected": 1, "actual": 2}
    assert (staff.find(made.user_id), staff.hash_of(made.user_id)) == (newer, HASH)


def test_update_of_deleted_user_is_not_found(staff: Staff, clock: Clock) -> None:
    made = staff.user()
    with staff.metadata.transaction() as tx:
        tx.users.delete(made, clock.now)
    assert staff.emails() == []
    with pytest.raises(NotFound), staff.metadata.transaction() as tx:
        tx.users.update(made.changed(clock.now))
    with pytest.raises(NotFound), staff.metadata.transaction() as tx:
        tx.users.delete(made, clock.now)


def test_update_to_taken_email_is_refused(staff: Staff, clock: Clock) -> None:
    bob, al = staff.user("bob@x"), staff.user("al@x")
    with pytest.raises(AlreadyExists) as caught, staff.metadata.transaction() as tx:
        tx.users.update(al.changed(clock.now, email="BOB@x"))
    assert caught.value.fields == {"entity": "user", "field": "email", "value": "BOB@x"}
    with staff.metadata.transaction() as tx:
        tx.users.update(bob.changed(clock.now, email="BOB@x"))  # its own, in other letters
    assert staff.emails() == ["al@x", "BOB@x"]


def test_deleting_user_clears_created_by_of_its_users(staff: Staff, clock: Clock) -> None:
    creator = staff.user("admin@x")
    made = staff.user("bob@x", created_by=creator.user_id)
    future = staff.user("al@x", created_by=creator.user_id, updated_at=clock.now.replace(year=2999))
    with staff.metadata.transaction() as tx:
        tx.users.delete(creator, clock.advance(seconds=1))
    assert staff.find("bob@x") == made.changed(clock.now, created_by=None)
    assert staff.find("al@x") == future.changed(clock.now, created_by=None)


def test_schema_rejects_creator_from_another_tenant(staff: Staff, library: Library, raw: RawSql) -> None:
    foreign, own = Staff(library, "other").user(), staff.user()
    with pytest.raises(sa.exc.IntegrityError):
        staff.user("al@x", created_by=foreign.user_id)
    with pytest.raises(sa.exc.IntegrityError):
        raw(
            "UPDATE users SET version = 2, created_by = ? WHERE user_id = ?",
            foreign.user_id.raw,
            own.user_id.raw,
        )
    with pytest.raises(sa.exc.IntegrityError):
        raw("UPDATE users SET version = 2, tenant_id = ? WHERE email = 'Nobody@x' OR user_id = ?",
            TenantId(bytes(16)).raw, own.user_id.raw)  # fmt: skip
    assert staff.find(own.user_id) == own


def test_tenant_purge_removes_its_users(staff: Staff, library: Library, raw: RawSql, clock: Clock) -> None:
    creator = staff.user("admin@x")
    staff.user("bob@x", created_by=creator.user_id)
    kept = Staff(library, "other").user()
    with staff.metadata.transaction() as tx:
        tx.tenants.purge(staff.tenant.tenant_id, clock.now)
    assert raw("SELECT email FROM users") == [(kept.email,)]


@pytest.mark.parametrize(("column", "value"), WRONG)
def test_schema_rejects_invalid_user(staff: Staff, raw: RawSql, column: str, value: Any) -> None:
    staff.user()
    before = raw("SELECT * FROM users")
    with pytest.raises(REFUSED):
        raw(f"UPDATE users SET {column} = ?", value)
    assert raw("SELECT * FROM users") == before


def test_only_duplicate_email_raises_already_exists(staff: Staff) -> None:
    """What else the schema refuses is a defect of the program, and is not hidden as something else."""
    with pytest.raises(sa.exc.IntegrityError), staff.metadata.transaction() as tx:
        tx.users.create(staff.new(), "not a hash")


def test_raw_update_increments_version(staff: Staff, raw: RawSql) -> None:
    made = staff.user()
    raw("UPDATE users SET role = 'admin'")
    found = staff.find(made.user_id)
    assert found is not None
    assert (found.version, found.role) == (2, "admin")
    assert found.updated_at > made.updated_at


def test_failed_transaction_rolls_back_all_entities(
    staff: Staff, library: Library, metadata: MetadataStore
) -> None:
    def work(tx: MetadataTransaction) -> None:
        tx.databases.create(library.new_database(staff.tenant))
        tx.users.create(staff.new("a@x"), HASH)
        tx.users.create(staff.new("A@x"), HASH)

    with pytest.raises(AlreadyExists), metadata.transaction() as tx:
        work(tx)
    assert staff.emails() == []
    with metadata.read() as tx:
        assert tx.databases.count(staff.tenant.tenant_id) == 0


def test_errors_do_not_reveal_password_hash(staff: Staff, clock: Clock) -> None:
    made = staff.user()
    with pytest.raises(AlreadyExists) as taken, staff.metadata.transaction() as tx:
        tx.users.create(staff.new("bob@x"), HASH)
    with pytest.raises(PreconditionFailed) as stale, staff.metadata.transaction() as tx:
        tx.users.update(made.changed(clock.now).changed(clock.now), password_hash=HASH)
    said = [repr(staff.find(made.user_id)), *(repr(vars(error.value)) for error in (taken, stale))]
    assert not any("argon2" in text for text in said)
