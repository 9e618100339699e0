"""`akidb migrate`: brings stores to this program's schema, and tenants from 1.x and back."""

from typing import Annotated

import typer

from akidb.cli import manifests
from akidb.cli.session import Session, command, group
from akidb.domain.errors import Unavailable

app = group("migrate", "Changes of the stores' shape, and from AkiDB 1.x and back.")
manifests.add_to(app)


@command(app, "schema", makes_store=True)
def schema(
    session: Session,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
) -> None:
    """Bring a data directory to this program's schema.

    Whatever opens a directory does that too; a tenant's store follows when it is next opened.
    """
    from akidb.services.runtime import schema_versions

    found, newest = schema_versions(session.directory)
    if found is not None and found > newest:
        raise Unavailable(f"the schema is {found}, and this AkiDB knows up to {newest}: use a newer AkiDB")
    if not dry_run:
        session.operations.tenants.list(limit=1)
    value = {"from": found, "to": newest, "changed": found != newest and not dry_run, "dry_run": dry_run}
    if found == newest:
        sentence = f"the schema is {newest}, the newest"
    else:
        sentence = (
            f"{'would bring' if dry_run else 'brought'} the schema from {found or 'nothing'} to {newest}"
        )
    session.out.done(value, sentence)
