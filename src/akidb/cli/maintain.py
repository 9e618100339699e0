"""`akidb maintain`: runs a round of maintenance now."""

import typer
from msgspec.structs import asdict

from akidb.cli.errors import EXIT_FAILED
from akidb.cli.session import Session, command
from akidb.operations.upkeep import MaintainStores


def add_to(app: typer.Typer) -> None:
    """Declare the command."""
    command(app, "maintain")(maintain)


def maintain(session: Session) -> int:
    """Purge what is past its retention, and finish what a crash left.

    Whatever keeps a store open for long does so by itself every minute. The exit status is 1 when
    something could not be done.
    """
    report = session.operations.perform(MaintainStores())
    for problem in report.problems:
        session.out.note(problem)
    done = [
        f"{count} {name}"
        for count, name in (
            (report.tenants_purged, "tenants purged"),
            (report.databases_purged, "databases purged"),
            (report.collections_purged, "collections purged"),
            (report.stores_settled, "stores brought up to date"),
            (report.copies_removed, "old copies removed"),
        )
        if count
    ]
    sentence = ", ".join(done) or "nothing was to be done"
    if report.traces_remain:
        sentence += "; a long read keeps traces of what was purged: the next round removes them"
    session.out.done(asdict(report), sentence)
    return EXIT_FAILED if report.problems else 0
