"""`akidb migrate v1-to-v2` and `v2-to-v1`: migrate tenants from AkiDB 1.x and back."""

import contextlib
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from akidb.cli.output import counted
from akidb.cli.session import Session, command
from akidb.domain.errors import InvalidArgument
from akidb.domain.migration import FaultyManifests, ManifestConflicts, MigrationReport, Outcome, ReturnReport
from akidb.operations.migration import MigrateV1ToV2, MigrateV2ToV1

MAX_ROWS = 20
"""The most rows of an informational table; tables of errors are complete."""

ReportFile = Annotated[
    Path | None, typer.Option("--report", metavar="FILE", help="Write the full report to FILE, as JSON.")
]


def add_to(app: typer.Typer) -> None:
    """Declare the commands."""
    command(app, "v1-to-v2", makes_store=True)(v1_to_v2)
    command(app, "v2-to-v1")(v2_to_v1)


def v1_to_v2(
    session: Session,
    *,
    v1_data_dir: Annotated[
        Path, typer.Option("--v1-data-dir", metavar="DIR", help="The directory with the 1.x manifests.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only report what would be done.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Overwrite tenants whose manifest has changed.")
    ] = False,
    report: ReportFile = None,
) -> None:
    """Import all tenants from AkiDB 1.x, atomically.

    Running it again changes nothing.
    """
    from akidb.deployment.dry_run import read_manifests, try_on
    from akidb.services.migration import refuse_faults

    refuse_server(session)
    with _report_file(report) as file:
        try:
            with session.out.stages("migrate", counted=True) as progress:
                source = read_manifests(v1_data_dir, progress)
                refuse_faults(source, dry_run=dry_run)  # before a store is created
                if dry_run:
                    done = try_on(
                        session.stores,
                        source,
                        overwrite=overwrite,
                        open_wait_seconds=session.settings.open_wait_seconds,
                    )
                else:
                    done = session.operations.perform(
                        MigrateV1ToV2(v1_data_dir=v1_data_dir, overwrite=overwrite),
                        source=source,
                        progress=progress,
                    )
        except (FaultyManifests, ManifestConflicts) as error:
            _show(session, error.report, file)
            raise
        _show(session, done, file)


def v2_to_v1(
    session: Session,
    *,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="The directory to write the manifests to.")
    ],
    report: ReportFile = None,
) -> None:
    """Write every tenant as an AkiDB 1.x manifest, at its original path if it came from 1.x."""
    refuse_server(session)
    with _report_file(report) as file:
        with session.out.stages("migrate", counted=True) as progress:
            done = session.operations.perform(MigrateV2ToV1(out=out), progress=progress)
        _write_report(done, file)
        if session.out.json:
            session.out.value(done)
        else:
            _tell_return(session, done)


def refuse_server(session: Session) -> None:
    """Raise InvalidArgument(`url`) for a server: the migration needs local files."""
    if session.is_remote:
        raise InvalidArgument("url", "must be the data directory or the database, not a server")


@contextlib.contextmanager
def _report_file(path: Path | None) -> Iterator[IO[bytes] | None]:
    """Create a temporary report file before the migration; rename it when it is complete."""
    from akidb.client.files import not_written

    if path is None:
        yield None
        return
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:64]}.")
    except OSError as error:
        raise InvalidArgument("report", f"cannot write {path}: {error.strerror}") from None
    made = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
    except OSError as error:  # of the report: a migration raises domain errors
        made.unlink(missing_ok=True)
        raise not_written(str(path), error) from error
    finally:
        if made.exists():
            _put_in_place(made, path)


def _put_in_place(made: Path, path: Path) -> None:
    """Move a finished report to its path; remove one that nothing was written to."""
    from akidb.client.files import not_written
    from akidb.sql.files import sync_directory

    try:
        if made.stat().st_size:
            made.replace(path)
            with contextlib.suppress(PermissionError):  # a directory may be writable but not readable
                sync_directory(path.parent)
    except OSError as error:
        raise not_written(str(path), error) from error
    finally:
        made.unlink(missing_ok=True)


def _show(session: Session, report: MigrationReport, file: IO[bytes] | None) -> None:
    _write_report(report, file)
    if session.out.json:
        session.out.value(report)
    else:
        _tell(session, report)


def _write_report(report: MigrationReport | ReturnReport, file: IO[bytes] | None) -> None:
    from akidb.ports import wire

    if file is not None:
        file.write(wire.encode(report) + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _tell(session: Session, report: MigrationReport) -> None:
    """Print the report as text: the result, then errors, then other information."""
    out, counts = session.out, report.counts
    if counts.faulty:
        out.text(f"{counted(counts.faulty, 'faulty file')} in {report.v1_data_dir}: nothing migrated")
    else:
        written = not report.dry_run and not counts.conflicts
        numbers = {
            "created" if written else "to create": counts.created,
            "overwritten" if written else "to overwrite": counts.overwritten,
            "unchanged": counts.unchanged,
            "in conflict": counts.conflicts,
            "purged earlier and skipped": counts.purged,
        }
        told = ", ".join(f"{number} {what}" for what, number in numbers.items() if number)
        found = counted(counts.manifests, "manifest")
        out.text(f"{found} in {report.v1_data_dir}: {told or 'nothing to do'}")
    if report.verification is not None:
        read = report.verification
        out.text(
            f"read back and compared: {counted(read.tenants, 'tenant')},"
            f" {counted(read.databases, 'database')}, {counted(read.manifests, 'manifest')}"
        )
    tenants = report.tenants
    faults = [(each.path, each.field or "", each.reason) for each in report.faults]
    _table(session, "Faulty files", ("path", "field", "reason"), faults, all=True)
    conflicts = [(t.path, t.tenant_id, t.reason) for t in tenants if t.outcome is Outcome.CONFLICT]
    _table(session, "Conflicts", ("path", "tenant", "reason"), conflicts, all=True)
    purged = [(t.path, t.tenant_id) for t in tenants if t.outcome is Outcome.PURGED]
    _table(session, "Purged earlier, not restored", ("path", "tenant"), purged)
    _table(session, "Skipped", ("path", "reason"), [(each.path, each.reason) for each in report.skipped])
    fields = Counter(field for each in tenants for field in each.unknown_fields)
    _table(session, "Unknown fields, kept in the manifest", ("field", "manifests"), sorted(fields.items()))
    slugs = [
        (t.path, '""' if t.given_slug == "" else t.given_slug, t.slug)
        for t in tenants
        if t.content_hash is not None and t.slug != t.given_slug
    ]
    _table(session, "Generated slugs", ("path", "in 1.x", "in 2.0"), slugs)


def _tell_return(session: Session, report: ReturnReport) -> None:
    session.out.text(
        f"{counted(len(report.tenants), 'manifest')} in {report.out}: {report.unchanged} identical to 1.x,"
        f" {report.changed} changed since, {report.new} of tenants created in 2.0"
    )
    behind = [(t.slug, ", ".join(t.left_behind)) for t in report.tenants if t.left_behind]
    _table(session, "Databases that 1.x cannot represent", ("tenant", "databases"), behind, all=True)
    moved = [(t.slug, t.moved_from, t.path) for t in report.tenants if t.moved_from is not None]
    _table(session, "Written to another path", ("tenant", "was", "is"), moved, all=True)


def _table(
    session: Session,
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    all: bool = False,
) -> None:
    if not rows:
        return
    shown = rows if all else rows[:MAX_ROWS]
    session.out.text()
    session.out.text(f"{title} ({len(rows)})", "bold")
    session.out.rows(None, columns, shown)
    if len(shown) < len(rows):
        session.out.text(f"... and {len(rows) - len(shown)} more: --report FILE lists all")
