"""`akidb maintain`: runs maintenance once, now."""

import typer
from msgspec.structs import asdict

from akidb.cli.errors import EXIT_FAILED
from akidb.cli.output import counted
from akidb.cli.session import Session, command
from akidb.operations.upkeep import MaintainStores


def add_to(app: typer.Typer) -> None:
    """Declare the command."""
    command(app, "maintain")(maintain)


def maintain(session: Session) -> int:
    """Purge deleted data past its retention, and recover from crashes.

    A process that keeps a store open does this automatically every minute. The exit status is 1 if
    there were problems.
    """
    report = session.operations.perform(MaintainStores())
    for problem in report.problems:
        session.out.note(problem)
    if report.waiting is not None:
        session.out.note(report.waiting)
    done = [
        f"{counted(count, one, many)} {done}"
        for count, one, many, done in (
            (report.tenants_purged, "tenant", None, "purged"),
            (report.databases_purged, "database", None, "purged"),
            (report.collections_purged, "collection", None, "purged"),
            (report.stores_settled, "store", None, "brought up to date"),
            (report.copies_removed, "old copy", "old copies", "removed"),
        )
        if count
    ]
    sentence = ", ".join(done) or "nothing to do"
    if report.traces_remain:
        sentence += "; a long-running read blocks the erasure of purged data: the next round retries it"
    session.out.done(asdict(report), sentence)
    return EXIT_FAILED if report.problems else 0
