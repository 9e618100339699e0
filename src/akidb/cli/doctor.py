"""`akidb doctor`: checks every store of a data directory."""

from typing import Annotated

import typer

from akidb.cli.errors import EXIT_FAILED
from akidb.cli.session import Session, command
from akidb.domain.lifecycle import ENTITY_OF, MOVES, PERMITTED
from akidb.operations.upkeep import CheckStores


def add_to(app: typer.Typer) -> None:
    """Declare the command."""
    command(app, "doctor")(doctor)


def doctor(
    session: Session,
    *,
    states: Annotated[
        bool,
        typer.Option("--states", help="Only print the transitions and permissions of each state."),
    ] = False,
) -> int:
    """Check the integrity of every store.

    The exit status is 1 if a check fails.
    """
    if states:
        _print_states(session)
        return 0
    findings = session.operations.perform(CheckStores()).items
    ok = all(finding.ok for finding in findings)
    rows = [(f.store, f.check, "ok" if f.ok else "WRONG", f.detail) for f in findings]
    session.out.rows({"ok": ok, "findings": findings}, ("store", "check", "result", "detail"), rows)
    return 0 if ok else EXIT_FAILED


def _print_states(session: Session) -> None:
    table = {
        ENTITY_OF[kind]: {
            str(state): {"moves": moves, "permits": sorted(PERMITTED[kind][state])}
            for state, moves in by_state.items()
        }
        for kind, by_state in MOVES.items()
    }
    rows = [
        (entity, state, ", ".join(row["moves"]) or "-", ", ".join(row["permits"]) or "-")
        for entity, by_state in table.items()
        for state, row in by_state.items()
    ]
    session.out.rows(table, ("entity", "state", "may become", "permits"), rows)
