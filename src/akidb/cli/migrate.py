"""`akidb migrate`: brings stores to this program's schema, and tenants from 1.x and back."""

from typing import Annotated

import typer

from akidb.cli import manifests
from akidb.cli.session import Session, command, group

app = group("migrate", "Changes of the stores' shape, and from AkiDB 1.x and back.")
manifests.add_to(app)


@command(app, "schema", makes_store=True)
def schema(
    session: Session,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")
    ] = False,
    to: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Go to this version, back where a step can.")
    ] = None,
) -> None:
    """Bring the stores to this program's schema, or to another.

    Whatever opens them brings them forward too. Copies of the files are taken first.
    """
    import msgspec

    from akidb.services.schemas import migrate

    with session.out.stages("tenant stores", counted=True) as show:
        done = migrate(
            session.stores,
            session.settings,
            to=to,
            dry_run=dry_run,
            advance=lambda count, of: show("tenant stores", count, of),
        )
    if done.found == done.to:
        sentence = f"the schema is {done.to}" + (", the newest" if to is None else "")
    else:
        verb = "would bring" if dry_run else "brought"
        sentence = f"{verb} the schema from {done.found or 'nothing'} to {done.to}"
    if done.stores:
        sentence += f", with {done.stores} tenant stores"
    session.out.done(msgspec.to_builtins(done), sentence)
