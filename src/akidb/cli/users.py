"""`akidb user`: the people who work with a tenant. A password is asked for or piped in, never an argument."""

import sys
from typing import Annotated

import typer
from msgspec import UNSET

from akidb.cli.arguments import Cursor, IfVersion, Limit, TenantArgument, given, require_changes
from akidb.cli.session import Session, command, group
from akidb.domain.documents import DEFAULT_PAGE_LIMIT
from akidb.domain.entities import UserRole
from akidb.domain.errors import InvalidArgument
from akidb.domain.names import MAX_PASSWORD_BYTES
from akidb.ports.users import UserChanges

app = group("user", "Users: the people who work with a tenant.")

COLUMNS = ("email", "role", "status", "last_login_at", "user_id")

UserArgument = Annotated[str, typer.Argument(metavar="USER", help="The user's email or ID.")]
EmailArgument = Annotated[str, typer.Argument(metavar="EMAIL", help="The user's email.")]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input instead of asking.")
]


@command(app, "create")
def create(
    session: Session,
    tenant: TenantArgument,
    email: EmailArgument,
    *,
    role: Annotated[UserRole, typer.Option(help="What the user is in the tenant.")] = UserRole.VIEWER,
    password_stdin: PasswordStdin = False,
) -> None:
    """Create an active user; asks for a password of 8-1024 bytes."""
    password = read_password(session, from_stdin=password_stdin, is_new=True)
    session.out.record(session.operations.users.create(tenant, email, password=password, role=role))


@command(app, "list")
def list_users(
    session: Session, tenant: TenantArgument, *, limit: Limit = DEFAULT_PAGE_LIMIT, cursor: Cursor = None
) -> None:
    """List a tenant's users, by email."""
    session.out.page(session.operations.users.list(tenant, limit=limit, cursor=cursor), COLUMNS)


@command(app, "get")
def get(session: Session, tenant: TenantArgument, user: UserArgument) -> None:
    """Show a user."""
    session.out.record(session.operations.users.get(tenant, user))


@command(app, "update")
def update(
    session: Session,
    tenant: TenantArgument,
    user: UserArgument,
    *,
    email: Annotated[str | None, typer.Option()] = None,
    role: Annotated[UserRole | None, typer.Option()] = None,
    password: Annotated[bool, typer.Option("--password", help="Ask for another password.")] = False,
    password_stdin: PasswordStdin = False,
    if_version: IfVersion = None,
) -> None:
    """Change a user; what is not named stays."""
    if password and password_stdin:
        raise InvalidArgument("password", "give either --password or --password-stdin")
    asked = password or password_stdin
    changes = UserChanges(
        email=given(email),
        role=given(role),
        password=read_password(session, from_stdin=password_stdin, is_new=True) if asked else UNSET,
    )
    require_changes(changes)
    session.out.record(session.operations.users.update(tenant, user, changes, if_version=if_version))


@command(app, "activate")
def activate(
    session: Session, tenant: TenantArgument, user: UserArgument, *, if_version: IfVersion = None
) -> None:
    """Let a suspended or deactivated user in again."""
    session.out.record(session.operations.users.activate(tenant, user, if_version=if_version))


@command(app, "suspend")
def suspend(
    session: Session, tenant: TenantArgument, user: UserArgument, *, if_version: IfVersion = None
) -> None:
    """Keep an active user out for a while."""
    session.out.record(session.operations.users.suspend(tenant, user, if_version=if_version))


@command(app, "deactivate")
def deactivate(
    session: Session, tenant: TenantArgument, user: UserArgument, *, if_version: IfVersion = None
) -> None:
    """Keep a user out who is to leave."""
    session.out.record(session.operations.users.deactivate(tenant, user, if_version=if_version))


@command(app, "delete")
def delete(
    session: Session, tenant: TenantArgument, user: UserArgument, *, if_version: IfVersion = None
) -> None:
    """Remove a user for good; the audit entries stay."""
    session.operations.users.delete(tenant, user, if_version=if_version)
    session.out.done({"deleted": user}, f"deleted {user}")


@command(app, "verify-password")
def verify_password(
    session: Session, tenant: TenantArgument, email: EmailArgument, *, password_stdin: PasswordStdin = False
) -> None:
    """Show the active user who has this email and password.

    The exit status is 5 for an unknown email, a wrong password and a user who is not active.
    """
    password = read_password(session, from_stdin=password_stdin, is_new=False)
    session.out.record(session.operations.users.verify_password(tenant, email, password))


def read_password(session: Session, *, from_stdin: bool, is_new: bool) -> str:
    """A password from standard input, without the end of its line, or typed unseen; a new one twice."""
    if from_stdin:
        # One byte more than a password and its line's end may have shows that it is too long.
        piped = sys.stdin.buffer.read(MAX_PASSWORD_BYTES + 3)
        try:
            return piped.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise InvalidArgument("password", "must be UTF-8") from None
    if not sys.stdin.isatty() or session.out.json:
        raise InvalidArgument("password", "is asked for at a terminal: pipe it in with --password-stdin")
    typed: str = typer.prompt("Password", hide_input=True, confirmation_prompt=is_new, err=True)
    return typed
