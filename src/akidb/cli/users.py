"""`akidb user`: the users of a tenant. Passwords are prompted for or piped in, never arguments."""

import sys
from typing import Annotated

import typer
from msgspec import UNSET

from akidb.cli import everyday
from akidb.cli.arguments import IfVersion, TenantArgument
from akidb.cli.session import Session, command, group
from akidb.domain.entities import UserRole
from akidb.domain.errors import InvalidArgument
from akidb.domain.names import MAX_PASSWORD_BYTES
from akidb.operations.users import CreateUser, UpdateUser, VerifyPassword

app = group("user", "The users of a tenant.")

UserArgument = Annotated[str, typer.Argument(metavar="USER", help="The user's email or ID.")]
EmailArgument = Annotated[str, typer.Argument(metavar="EMAIL", help="The user's email.")]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="Read the password from standard input instead of a prompt.")
]


@command(app, "create")
def create(
    session: Session,
    tenant: TenantArgument,
    email: EmailArgument,
    *,
    role: Annotated[UserRole, typer.Option(help="The role of the user within the tenant.")] = UserRole.VIEWER,
    password_stdin: PasswordStdin = False,
) -> None:
    """Create an active user, with a prompt for a password of 8-1024 bytes."""
    password = read_password(session, from_stdin=password_stdin, is_new=True)
    session.out.record(
        session.operations.perform(CreateUser(tenant=tenant, email=email, password=password, role=role))
    )


everyday.add(app, "user", "list", "count", "get")


@command(app, "update")
def update(
    session: Session,
    tenant: TenantArgument,
    user: UserArgument,
    *,
    email: Annotated[str | None, typer.Option()] = None,
    role: Annotated[UserRole | None, typer.Option()] = None,
    password: Annotated[bool, typer.Option("--password", help="Prompt for a new password.")] = False,
    password_stdin: PasswordStdin = False,
    if_version: IfVersion = None,
) -> None:
    """Change fields of a user; omitted fields keep their values."""
    if password and password_stdin:
        raise InvalidArgument("password", "give either --password or --password-stdin")
    asked = password or password_stdin
    if email is None and role is None and not asked:
        raise InvalidArgument("arguments", "give at least one field to change")
    request = UpdateUser(
        tenant=tenant,
        user=user,
        email=UNSET if email is None else email,
        role=UNSET if role is None else role,
        password=read_password(session, from_stdin=password_stdin, is_new=True) if asked else UNSET,
        if_version=if_version,
    )
    session.out.record(session.operations.perform(request))


everyday.add(app, "user", "activate", "suspend", "deactivate", "delete")


@command(app, "verify-password")
def verify_password(
    session: Session, tenant: TenantArgument, email: EmailArgument, *, password_stdin: PasswordStdin = False
) -> None:
    """Show the active user with this email and password.

    The exit status is 5 for an unknown email, a wrong password or an inactive user.
    """
    password = read_password(session, from_stdin=password_stdin, is_new=False)
    session.out.record(
        session.operations.perform(VerifyPassword(tenant=tenant, email=email, password=password))
    )


def read_password(session: Session, *, from_stdin: bool, is_new: bool) -> str:
    """Read a password from standard input, stripping the trailing newline, or prompt; a new one twice."""
    if from_stdin:
        from akidb.client.files import reading

        # One byte more than the longest password and its newline reveals one that is too long.
        with reading(sys.stdin.buffer) as file:
            piped = file.read(MAX_PASSWORD_BYTES + 3)
        try:
            return piped.decode().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError:
            raise InvalidArgument("password", "must be UTF-8") from None
    if not sys.stdin.isatty() or session.out.json:
        raise InvalidArgument("password", "cannot be prompted for here: pipe it in with --password-stdin")
    typed: str = typer.prompt("Password", hide_input=True, confirmation_prompt=is_new, err=True)
    return typed
