"""`akidb backup`, `akidb restore`, and tenants as files: `akidb tenant export`, `import`, `copy`."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from akidb.cli import tenants
from akidb.cli.arguments import TenantArgument
from akidb.cli.session import Session, command
from akidb.domain.archives import ImportConflict
from akidb.domain.errors import AlreadyExists, InvalidArgument
from akidb.operations.archives import CopyTenant, CreateBackup, ExportTenant, ImportTenant
from akidb.ports.archive import ByteSink, ByteSource

STANDARD = "-"

Written = Annotated[str, typer.Argument(metavar="FILE", help="A new file; - is standard output.")]
Read = Annotated[str, typer.Argument(metavar="FILE", help="What was written; - is standard input.")]
Force = Annotated[bool, typer.Option("--force", help="Replace a file that is there, if it is a regular one.")]


def add_to(app: typer.Typer) -> None:
    """Declare the commands."""
    command(app, "backup")(backup)
    command(app, "restore", makes_store=True)(restore)


def backup(session: Session, file: Written, *, force: Force = False) -> None:
    """Write all tenants to one file, while others work.

    A backup keeps what it holds, also when that is purged later.
    """
    with _written(session, file, "backed up", force=force) as target:
        session.operations.perform(CreateBackup(), sink=target)


def restore(session: Session, file: Read) -> None:
    """Bring a backup back into an empty data directory or PostgreSQL database, and check it.

    All of the file is checked before anything is there; when it is refused, nothing is.
    """
    from akidb.deployment.local import restore_local

    place = session.stores
    began = time.perf_counter()
    with _source(file) as source:
        counts = restore_local(place, session.settings, source)
    seconds = round(time.perf_counter() - began, 3)
    tenants, documents = counts.get("tenants", 0), counts.get("documents", 0)
    session.out.done(
        {"restored": counts, "seconds": seconds},
        f"restored {tenants:,} tenants with {documents:,} documents in {seconds:.1f} s",
    )


@command(tenants.app, "export")
def export(session: Session, tenant: TenantArgument, file: Written, *, force: Force = False) -> None:
    """Write a tenant to a file: databases, collections, users, documents.

    `akidb tenant import` takes it in at another place.
    """
    with _written(session, file, "exported", force=force) as target:
        session.operations.perform(ExportTenant(tenant=tenant), sink=target)


@command(tenants.app, "import", makes_store=True)
def import_file(
    session: Session,
    file: Read,
    *,
    slug: Annotated[str | None, typer.Option("--as", metavar="SLUG", help="Another slug.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done and what is in its way; do nothing.")
    ] = False,
) -> None:
    """Take in an exported tenant, under its own IDs; all or nothing."""
    with _source(file) as source:
        report = session.operations.perform(ImportTenant(slug=slug, dry_run=dry_run), source=source)
    if report.conflicts:
        rows = [(conflict.field, conflict.value, conflict.reason) for conflict in report.conflicts]
        session.out.rows(report, ("field", "value", "reason"), rows)
        raise _conflicts(report.conflicts)
    if session.out.json:
        session.out.value(report)
        return
    verb = "would import" if dry_run else "imported"
    session.out.text(
        f"{verb} {report.tenant.slug} with {report.databases:,} databases,"
        f" {report.collections:,} collections and {report.documents:,} documents"
    )


def _conflicts(conflicts: Sequence[ImportConflict]) -> AlreadyExists:
    """The error that a dry run ends with, once all conflicts are shown."""
    first = conflicts[0]
    error = AlreadyExists("tenant", first.field, first.value)
    count = "1 conflict" if len(conflicts) == 1 else f"{len(conflicts)} conflicts"
    error.message = f"the import would be refused for {count}; {first.field} {first.value} is {first.reason}"
    error.args = (error.message,)
    return error


@command(tenants.app, "copy")
def copy(
    session: Session,
    tenant: TenantArgument,
    slug: Annotated[str, typer.Argument(metavar="NEW-SLUG")],
    *,
    name: Annotated[str | None, typer.Option(help="By default that of the original.")] = None,
) -> None:
    """Make a tenant of its own of what a tenant holds now, with new IDs and without users."""
    session.out.record(session.operations.perform(CopyTenant(tenant=tenant, slug=slug, name=name)))


@contextmanager
def _written(session: Session, file: str, verb: str, *, force: bool) -> Iterator[ByteSink]:
    """Where a command writes an archive, and what it says when that is done."""
    from akidb.client.files import writing

    if file == STANDARD:
        if sys.stdout.isatty():
            raise InvalidArgument("file", "an archive is no text for a terminal: name a file")
        sys.stdout.flush()
        yield sys.stdout.buffer
        return
    began = time.perf_counter()
    try:
        with writing(file, overwrite=force) as target:
            yield target
    except AlreadyExists as error:
        if error.fields["field"] == "file":
            error.add_note("--force replaces it")
        raise
    seconds, size = round(time.perf_counter() - began, 3), Path(file).stat().st_size
    session.out.done(
        {"file": file, "bytes": size, "seconds": seconds},
        f"{verb} to {file}, {size / 1e6:,.1f} MB in {seconds:.1f} s",
    )


@contextmanager
def _source(file: str) -> Iterator[ByteSource]:
    from akidb.client.files import reading

    if file == STANDARD:
        yield sys.stdin.buffer
        return
    with reading(file) as source:
        yield source
