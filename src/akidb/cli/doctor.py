"""`akidb doctor`: checks every store of a data directory."""

from typing import TYPE_CHECKING, Annotated

import typer

from akidb.cli.arguments import Yes
from akidb.cli.errors import EXIT_FAILED
from akidb.cli.output import counted
from akidb.cli.session import Session, command, confirm
from akidb.domain.errors import InvalidArgument
from akidb.domain.lifecycle import ENTITY_OF, MOVES, PERMITTED
from akidb.operations.upkeep import CheckStores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from akidb.deployment.repair import Repair
    from akidb.domain.upkeep import Finding


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
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Repair stores that cannot be opened. No process may use them."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print what --repair would do.")] = False,
    yes: Yes = False,
) -> int:
    """Check the integrity of every store, or repair stores that cannot be opened.

    The exit status is 1 if a check fails, or if a repair leaves damage as it is. A repair never deletes a
    file: a damaged one is moved to `backups`.
    """
    if states:
        if repair or dry_run or yes:
            raise InvalidArgument("states", "only prints a table: give it alone")
        _print_states(session)
        return 0
    if repair:
        return _repair(session, dry_run=dry_run, yes=yes)
    if dry_run or yes:
        raise InvalidArgument("repair", "is needed with --dry-run and --yes")
    findings = session.operations.perform(CheckStores()).items
    ok = all(finding.ok for finding in findings)
    rows = [(f.store, f.check, _result(f), f.detail) for f in findings]
    session.out.rows({"ok": ok, "findings": findings}, ("store", "check", "result", "detail"), rows)
    return 0 if ok else EXIT_FAILED


def _result(finding: "Finding") -> str:
    if not finding.checked:
        return "-"
    return "ok" if finding.ok else "WRONG"


def _repair(session: Session, *, dry_run: bool, yes: bool) -> int:
    """Print the repairs, ask, and carry them out."""
    from akidb.deployment.local import repair_local

    columns = ("store", "problem", "repair")

    def agree(plan: "Sequence[Repair]") -> bool:
        if not session.out.json:
            session.out.rows(plan, columns, [(each.store, each.problem, each.action) for each in plan])
        number = sum(each.kind != "leave" for each in plan)
        if number and not dry_run:
            confirm(session, f"Carry out {counted(number, 'repair')}?", yes=yes)
        return bool(number) and not dry_run

    session.require_store()
    plan = repair_local(session.directory, session.settings, agree)
    left = sum(each.kind == "leave" for each in plan)
    done = len(plan) > left and not dry_run
    sentence = "repaired; run `akidb doctor` again" if done else "nothing to repair"
    if session.out.json or not plan or done:
        session.out.done({"repairs": plan, "done": done}, sentence)
    return EXIT_FAILED if left and not dry_run else 0


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
