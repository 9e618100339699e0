"""Valid and invalid user calls, run on every deployment."""

from typing import Any

from congruence_deployments import Transcript
from congruence_scenarios import Scenario

import akidb

PASSWORD = "correct horse"
EMAILS = (
    "",
    " ",
    "a",
    "@",
    "a@",
    "@x",
    "a@b@c",
    "a b@x",
    "a\\b@x",
    "a@x/..",
    "a@x\n",
    "a@x\0",
    "a" * 300,
)
WRONG: tuple[Any, ...] = (b"x", bytearray(b"x"), 5, True, 1.5, float("nan"), ["x"], {"a": b"x"}, {1}, "x\0")


def users(db: akidb.Client, saw: Transcript) -> None:
    """Create, get, find, change, keep out, verify, delete."""
    tenant = db.tenants.create("Users")
    admin = akidb.UserRole.ADMIN
    saw(tenant.users.create, "Bob@x", password=PASSWORD, role=admin)
    saw(tenant.users.create, "bob@X", password=PASSWORD)
    bob = tenant.users.get("BOB@x")
    for user in ("bob@x", bob.id, str(bob.id), "nobody@x", "0190aaaa-0000-7000-8000-000000000000"):
        saw(tenant.users.get, user)
        saw(tenant.users.find, user)
        saw(tenant.users.exists, user)
    for email in (
        "a+b%41?c#d&e=f@x",
        "\u00dcn\u00ef@ex\u00e4mple.org",
        "o'neill@x",
        "~!$*^{}|`@x-y.z",
        "a/b@x",
        "/..%2f@x",
        "\u65e5\u672c@\u4f8b",
    ):
        saw(tenant.users.create, email, password=PASSWORD)
        saw(tenant.users.get, email)
        saw(tenant.users.get, email.upper())
    saw(tenant.users.get_or_create, "bob@x", password="another one")
    saw(tenant.users.get_or_create, "Al@x", password="another one", role=akidb.UserRole.AUDITOR)
    saw(tenant.users.get_or_create, "al@x", password="another one", role=admin)
    saw(tenant.users.create, "stra\u00dfe@x", password=PASSWORD)
    saw(tenant.users.get_or_create, "STRA\u1e9eE@x", password="another one")
    saw(tenant.users.get_or_create, "strasse@x", password="another one")
    saw(db.tenants.create("Users too").users.find, bob.id)
    saw(db.tenants.get("users-too").users.find, "bob@x")
    saw(tenant.users.list, limit=3)
    saw(tenant.users.list, limit=3, cursor=tenant.users.list(limit=3).next_cursor)
    saw(db.tenants.get("users-too").users.list, cursor=tenant.users.list(limit=3).next_cursor)
    saw(lambda: [user.email for user in tenant.users])
    saw(tenant.users.count)
    _changes(tenant, bob, saw)
    saw(lambda: [(e.action, e.resource_id, e.result, e.metadata) for e in tenant.audit()])


def _changes(tenant: akidb.TenantHandle, bob: akidb.UserHandle, saw: Transcript) -> None:
    saw(tenant.users.verify_password, "bob@x", PASSWORD)
    saw(tenant.users.verify_password, "bob@x", "wrong")
    saw(tenant.users.verify_password, "nobody@x", PASSWORD)
    saw(bob.update, role=akidb.UserRole.VIEWER, if_version=1)
    saw(bob.update, email="Robert@x", role=akidb.UserRole.VIEWER, if_version=2)
    saw(bob.update, email="AL@x")
    saw(bob.update, password="another horse")
    saw(bob.update)
    saw(lambda: [bob.email, bob.role, bob.status, bob.version, bob.created_by, bob.last_login_at])
    saw(tenant.users.verify_password, "robert@x", PASSWORD)
    saw(bob.activate)
    saw(bob.suspend, if_version=99)
    for move in (bob.suspend, bob.suspend, bob.activate, bob.deactivate, bob.suspend):
        saw(move)
        saw(lambda: [bob.status, bob.version])
        saw(tenant.users.verify_password, "robert@x", "another horse")
    saw(bob.activate)
    saw(tenant.users.verify_password, "ROBERT@x", "another horse")
    saw(bob.refresh)
    tenant.suspend()
    for call in (bob.suspend, bob.delete, bob.refresh):
        saw(call)
    saw(tenant.users.create, "new@x", password=PASSWORD)
    saw(bob.update, role=akidb.UserRole.ADMIN)
    saw(tenant.users.verify_password, "robert@x", "another horse")
    saw(tenant.users.verify_password, "robert@x", PASSWORD)
    saw(lambda: bob)
    tenant.activate()
    for key in ("one", "one", "two"):
        with akidb.request(idempotency_key=key):
            saw(tenant.users.create, "keyed@x", password=PASSWORD)
            saw(bob.update, password="yet another")
    with akidb.request(idempotency_key="one"):
        saw(tenant.users.create, "keyed@x", password=PASSWORD + "!")
        saw(tenant.users.verify_password, "keyed@x", PASSWORD)
        saw(tenant.users.verify_password, "keyed@x", "wrong")
    saw(bob.delete, if_version=1)
    saw(bob.delete)
    saw(bob.delete)
    saw(bob.refresh)
    saw(bob.suspend)
    saw(tenant.users.delete, "nobody@x")


def user_faults(db: akidb.Client, saw: Transcript) -> None:
    """Emails, passwords and roles that cannot be; each is refused, and nothing is changed."""
    tenant = db.tenants.create("Wrong users")
    bob = tenant.users.create("bob@x", password=PASSWORD)
    for email in EMAILS:
        saw(tenant.users.create, email, password=PASSWORD)
        saw(tenant.users.get, email)
        saw(bob.update, email=email)
        saw(tenant.users.verify_password, email, PASSWORD)
    for password in ("", "short", "\u00e9" * 513, "p" * 1025, "null\0null"):
        saw(tenant.users.create, "new@x", password=password)
        saw(bob.update, password=password)
        saw(tenant.users.verify_password, "bob@x", password)
    for value in (None, *WRONG):
        saw(tenant.users.create, value, password=PASSWORD)
        saw(tenant.users.create, "new@x", password=value)
        saw(tenant.users.create, "new@x", password=PASSWORD, role=value)
        saw(tenant.users.get, value)
        saw(tenant.users.delete, value)
        saw(tenant.users.verify_password, value, PASSWORD)
        saw(tenant.users.verify_password, "bob@x", value)
        for name in ("email", "role", "password"):
            saw(bob.update, **{name: value})
    for surrogates in ("a\ud800@x", "\ud800" * 8):
        saw.place(tenant.users.create, surrogates, password=surrogates)
        saw.place(tenant.users.create, "new@x", password=surrogates)
        saw.place(tenant.users.verify_password, "bob@x", surrogates)
    for number in (0, -1, 1.5, True, "5", 2**64):
        saw.place(tenant.users.list, limit=number)
        saw.place(bob.suspend, if_version=number)
        saw.place(bob.delete, if_version=number)
    saw(tenant.users.list, cursor="garbage")
    saw(lambda: [user.entity for user in tenant.users])


USER_SCENARIOS: list[Scenario] = [users, user_faults]
