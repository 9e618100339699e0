"""`akidb database`: groups of collections of one tenant."""

from typing import Annotated

import typer

from akidb.cli.arguments import (
    Cursor,
    DatabaseArgument,
    Deleted,
    IfVersion,
    Limit,
    TenantArgument,
    Yes,
    database_path,
    given,
    require_changes,
)
from akidb.cli.session import Session, command, confirm, group
from akidb.domain.documents import DEFAULT_PAGE_LIMIT
from akidb.domain.lifecycle import DatabaseState
from akidb.ports.operations import DatabaseChanges

app = group("database", "Databases: named groups of collections of a tenant.")

COLUMNS = ("name", "state", "description", "database_id")

Description = Annotated[str | None, typer.Option(help="Text for people.")]


@command(app, "create")
def create(
    session: Session,
    tenant: TenantArgument,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    *,
    description: Description = None,
    provisioning: Annotated[
        bool, typer.Option("--provisioning", help="Not ready yet: `update --state ready` makes it so.")
    ] = False,
) -> None:
    """Create a database."""
    state = DatabaseState.PROVISIONING if provisioning else DatabaseState.READY
    session.out.record(
        session.operations.databases.create(tenant, name, description=description or "", state=state)
    )


@command(app, "list")
def list_databases(
    session: Session,
    tenant: TenantArgument,
    *,
    deleted: Deleted = False,
    limit: Limit = DEFAULT_PAGE_LIMIT,
    cursor: Cursor = None,
) -> None:
    """List a tenant's databases, by name."""
    page = session.operations.databases.list(tenant, deleted=deleted, limit=limit, cursor=cursor)
    session.out.page(page, COLUMNS)


@command(app, "get")
def get(session: Session, path: DatabaseArgument) -> None:
    """Show a database."""
    session.out.record(session.operations.databases.get(*database_path(path)))


@command(app, "update")
def update(
    session: Session,
    path: DatabaseArgument,
    *,
    name: Annotated[str | None, typer.Option()] = None,
    description: Description = None,
    state: Annotated[DatabaseState | None, typer.Option(help="Move it to this state.")] = None,
    schema_version: Annotated[int | None, typer.Option()] = None,
    if_version: IfVersion = None,
) -> None:
    """Change a database; what is not named stays."""
    changes = DatabaseChanges(
        name=given(name),
        description=given(description),
        state=given(state),
        schema_version=given(schema_version),
    )
    require_changes(changes)
    session.out.record(
        session.operations.databases.update(*database_path(path), changes, if_version=if_version)
    )


@command(app, "delete")
def delete(session: Session, path: DatabaseArgument, *, if_version: IfVersion = None) -> None:
    """Delete a database and its collections, until `restore` or `purge`."""
    session.operations.databases.delete(*database_path(path), if_version=if_version)
    session.out.done({"deleted": path}, f"deleted {path}; `akidb database restore` brings it back")


@command(app, "restore")
def restore(session: Session, path: DatabaseArgument, *, if_version: IfVersion = None) -> None:
    """Bring a deleted database back."""
    session.out.record(session.operations.databases.restore(*database_path(path), if_version=if_version))


@command(app, "purge")
def purge(
    session: Session, path: DatabaseArgument, *, yes: Yes = False, if_version: IfVersion = None
) -> None:
    """Remove a deleted database for good, with all that it stored."""
    parts = database_path(path)
    confirm(session, f"Remove database {path} and all its documents for good?", yes=yes)
    session.operations.databases.purge(*parts, if_version=if_version)
    session.out.done({"purged": path}, f"purged {path}")
