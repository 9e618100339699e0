"""`akidb backup` and `restore`; `akidb tenant export`, `import` and `copy`."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from akidb.cli import tenants
from akidb.cli.arguments import TenantArgument, naming_options
from akidb.cli.errors import EXIT_FAILED, encodable
from akidb.cli.output import counted, flush_output
from akidb.cli.session import Session, command
from akidb.domain.archives import BackupReport, ByteSink, ByteSource, ImportConflict
from akidb.domain.errors import AlreadyExists, InvalidArgument
from akidb.operations.archives import CopyTenant, CreateBackup, ExportTenant, ImportTenant

STANDARD = "-"

Written = Annotated[str, typer.Argument(metavar="FILE", help="The file to write; - is standard output.")]
Read = Annotated[str, typer.Argument(metavar="FILE", help="The file to read; - is standard input.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite an existing regular file.")]


def add_to(app: typer.Typer) -> None:
    """Declare the commands."""
    command(app, "backup")(backup)
    command(app, "restore", makes_store=True)(restore)


def backup(session: Session, file: Written, *, force: Force = False) -> int:
    """Write all tenants to one file, without blocking other clients.

    Later purges do not change a backup: it still contains the purged data. A tenant whose metadata
    or store is damaged is left out and named, and the exit status is 1.
    """
    with written(session, file, "backed up", force=force) as target:
        report: BackupReport = session.operations.perform(CreateBackup(), sink=target)
    if report.is_complete:
        return 0
    named = ", ".join(map(str, report.tenants_left_out)) or "none"
    print(
        f"warning: what is damaged is not in the backup: {counted(report.tenants_left_out_count, 'tenant')}"
        f" ({named}), {counted(report.rows_left_out, 'other row')}; `akidb doctor` finds them",
        file=sys.stderr,
        flush=True,
    )
    return EXIT_FAILED


def restore(session: Session, file: Read) -> None:
    """Restore a backup into an empty data directory or PostgreSQL database, and verify it.

    The whole file is verified first; if it is invalid, nothing is restored.
    """
    from akidb.deployment.local import restore_local

    place = session.stores
    began = time.perf_counter()
    with _source(file) as source:
        counts = restore_local(place, session.settings, source)
    seconds = round(time.perf_counter() - began, 3)
    tenants, documents = counts.get("tenants", 0), counts.get("documents", 0)
    missing = counts.get("tenants_left_out", 0)
    lacks = f"; the backup lacks {counted(missing, 'tenant')}, left out as damaged" if missing else ""
    session.out.done(
        {"restored": counts, "seconds": seconds},
        f"restored {counted(tenants, 'tenant')} with {counted(documents, 'document')} in {seconds:.1f} s"
        + lacks,
    )


@command(tenants.app, "export")
def export(session: Session, tenant: TenantArgument, file: Written, *, force: Force = False) -> None:
    """Write a tenant to a file: databases, collections, users, documents.

    `akidb tenant import` imports it elsewhere.
    """
    with written(session, file, "exported", force=force) as target:
        session.operations.perform(ExportTenant(tenant=tenant), sink=target)


@command(tenants.app, "import", makes_store=True)
def import_file(
    session: Session,
    file: Read,
    *,
    slug: Annotated[str | None, typer.Option("--as", metavar="SLUG", help="Import under this slug.")] = None,
    new_ids: Annotated[
        bool, typer.Option("--new-ids", help="Give new IDs to everything, as after a purge of the original.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Report the result and any conflicts without importing.")
    ] = False,
) -> None:
    """Import an exported tenant atomically, with its original IDs or new ones."""
    with _source(file) as source, naming_options({"slug": "as"}):
        report = session.operations.perform(
            ImportTenant(slug=slug, new_ids=new_ids, dry_run=dry_run), source=source
        )
    if report.conflicts:
        rows = [(conflict.field, conflict.value, conflict.reason) for conflict in report.conflicts]
        session.out.rows(report, ("field", "value", "reason"), rows)
        raise _conflicts(report.conflicts)
    if session.out.json:
        session.out.value(report)
        return
    verb = "would import" if dry_run else "imported"
    session.out.text(
        f"{verb} {report.tenant.slug} with {counted(report.databases, 'database')},"
        f" {counted(report.collections, 'collection')} and {counted(report.documents, 'document')}"
    )


def _conflicts(conflicts: Sequence[ImportConflict]) -> AlreadyExists:
    """Return the error for a dry run that found conflicts."""
    first = conflicts[0]
    error = AlreadyExists("tenant", first.field, first.value)
    count = counted(len(conflicts), "conflict")
    error.message = f"the import would be refused for {count}; {first.field} {first.value} is {first.reason}"
    error.args = (error.message,)
    return error


@command(tenants.app, "copy")
def copy(
    session: Session,
    tenant: TenantArgument,
    slug: Annotated[str, typer.Argument(metavar="NEW-SLUG")],
    *,
    name: Annotated[str | None, typer.Option(help="Defaults to the original name.")] = None,
) -> None:
    """Copy the current contents of a tenant to a new tenant, with new IDs and without users."""
    session.out.record(session.operations.perform(CopyTenant(tenant=tenant, slug=slug, name=name)))


@contextmanager
def written(session: Session, file: str, verb: str, *, force: bool) -> Iterator[ByteSink]:
    """Open the file to write an archive to, and report the result at the end."""
    from akidb.client.files import not_written, writing

    if file == STANDARD:
        if sys.stdout.isatty():
            raise InvalidArgument("file", "cannot write a binary archive to a terminal: give a file name")
        if force:
            raise InvalidArgument("force", "is for files, not for standard output")
        flush_output()
        with writing(sys.stdout.buffer, overwrite=False) as target:
            yield target
        try:
            sys.stdout.buffer.flush()
        except OSError as error:
            raise not_written("standard output", error) from error
        return
    began = time.perf_counter()
    try:
        with writing(file, overwrite=force) as target:
            yield target
    except AlreadyExists as error:
        if error.fields["field"] == "file":
            error.add_note("--force overwrites it")
        raise
    seconds, size = round(time.perf_counter() - began, 3), Path(file).stat().st_size
    session.out.done(
        {"file": encodable(file), "bytes": size, "seconds": seconds},
        f"{verb} to {file}, {size / 1e6:,.1f} MB in {seconds:.1f} s",
    )


@contextmanager
def _source(file: str) -> Iterator[ByteSource]:
    from akidb.client.files import reading

    with reading(sys.stdin.buffer if file == STANDARD else file) as source:
        yield source
