"""`akidb migrate`: schema migrations of the stores, and tenants from 1.x and back."""

from typing import TYPE_CHECKING, Annotated

import typer

from akidb.cli import manifests
from akidb.cli.arguments import Yes
from akidb.cli.output import counted
from akidb.cli.session import Session, command, confirm, group

if TYPE_CHECKING:
    from akidb.deployment.schema_changes import SchemaChange

app = group("migrate", "Schema migrations, and migration from AkiDB 1.x and back.")
manifests.add_to(app)


@command(app, "schema", makes_store=True)
def schema(
    session: Session,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only report what would be done.")] = False,
    to: Annotated[
        str | None, typer.Option(metavar="VERSION", help="Target version; older if reversible.")
    ] = None,
    yes: Yes = False,
) -> None:
    """Migrate the stores to this program's schema version, or to another.

    Opening a store also upgrades it. The files are copied first. A downgrade reports the data that it loses
    and asks for confirmation.
    """
    import msgspec

    from akidb.deployment.schema_changes import migrate

    def run(*, dry_run: bool) -> "SchemaChange":
        with session.out.stages("tenant stores", counted=True) as show:
            return migrate(
                session.stores,
                session.settings,
                to=to,
                dry_run=dry_run,
                advance=lambda count, of: show("tenant stores", count, of),
            )

    if to is not None and not dry_run:
        plan = run(dry_run=True)
        for line in _losses(plan):
            session.out.note(line)
        if plan.lost:
            confirm(session, f"Downgrade from {plan.found} to {plan.to}?", yes=yes)
    done = run(dry_run=dry_run)
    if done.found == done.to:
        sentence = f"the schema is {done.to}" + (", the newest" if to is None else "")
    else:
        verb = "would bring" if dry_run else "brought"
        sentence = f"{verb} the schema from {done.found or 'nothing'} to {done.to}"
    if done.stores:
        sentence += f", with {counted(done.stores, 'tenant store')}"
    session.out.done(msgspec.to_builtins(done), sentence)
    if dry_run and not session.out.json:
        for line in _losses(done):
            session.out.text(line)


def _losses(change: "SchemaChange") -> list[str]:
    """Return a line for each loss of data by a downgrade."""
    return [
        f"lost with {loss.version}: {'' if loss.rows is None else f'{loss.rows:,} '}{loss.what}"
        for loss in change.lost
    ]
