"""Valid and invalid archive calls, run on every deployment."""

import io
import tempfile
from pathlib import Path
from typing import Any

from congruence_deployments import Transcript
from congruence_scenarios import Scenario, made, some_documents

import akidb


def archives(db: akidb.Client, saw: Transcript) -> None:
    """Export, take in where it was purged, elsewhere and not at all; copy; back up."""
    made(db, "archived").upsert(some_documents(5))
    tenant = db.tenants.get("archived")
    archive = io.BytesIO()
    saw(tenant.export, archive)
    for how in ({"dry_run": True}, {"dry_run": True, "slug": "archived-2"}, {}, {"slug": "archived-2"}):
        archive.seek(0)
        report: Any = saw(db.tenants.import_, archive, **how)
        if report is not None:
            saw(lambda report=report: sorted(conflict.field for conflict in report.conflicts))
    branch = saw(tenant.copy, "archived-branch", name="Branch")
    assert branch is not None
    saw(lambda: branch.databases.get("kb").collections.get("notes").count())
    saw(branch.usage)
    saw(tenant.copy, "archived-branch")
    saw(tenant.copy, "No Slug")
    saw(tenant.copy, "fine", name="")
    tenant.delete()
    saw(tenant.export, io.BytesIO())
    saw(tenant.copy, "archived-3")
    tenant.purge()
    archive.seek(0)
    saw(db.tenants.import_, archive)
    with akidb.request(idempotency_key="copied once"):
        saw(branch.copy, "archived-4")
        saw(branch.copy, "archived-4")
        saw(branch.copy, "archived-5")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "file"
        saw(branch.export, path)
        saw(lambda: path.read_bytes()[:16] == b"AkiDB archive 1\n")
        saw(lambda: path.stat().st_mode & 0o777)
        saw(db.backup, path, overwrite=True)
        saw(lambda: [each.name for each in Path(directory).iterdir()])
    saw.place(db.backup, Path("/no/such/directory/file"))


def archive_faults(db: akidb.Client, saw: Transcript) -> None:
    """What is no archive, and arguments of the wrong kind."""
    tenant = db.tenants.create("Archive faults")
    good = io.BytesIO()
    tenant.export(good)
    whole = good.getvalue()
    # Altered in the checksum: elsewhere, what is noticed first depends on the IDs and times in it.
    for wrong in (b"", b"x" * 100, whole[:-1], whole + b"x", whole[:-32] + bytes(32)):
        saw(db.tenants.import_, io.BytesIO(wrong))
        saw(db.tenants.import_, io.BytesIO(wrong), dry_run=True)
    for slug in ("", "A", "a b", "\u00e4", "x" * 64, "0190aaaa-0000-7000-8000-000000000000"):
        saw(db.tenants.import_, io.BytesIO(whole), slug=slug)
        saw(tenant.copy, slug)
    nothing: Any
    for nothing in (5, b"x", True, 1.5, ["x"], {"a": 1}):
        saw.place(db.tenants.import_, io.BytesIO(whole), slug=nothing)
        saw.place(tenant.copy, nothing)
        saw.place(tenant.copy, "fine", name=nothing)
        if nothing is not True:
            saw.place(db.tenants.import_, io.BytesIO(whole), dry_run=nothing)
    saw.place(db.tenants.import_, Path("/no/such/file"))


ARCHIVE_SCENARIOS: list[Scenario] = [archives, archive_faults]
