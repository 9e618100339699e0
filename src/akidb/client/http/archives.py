"""Backups, exports, imports and copies over HTTP."""

# ruff: noqa: D102 - the port says what each method does

from akidb.client.http import checks
from akidb.client.http.caller import Caller
from akidb.client.http.checks import checked, given
from akidb.client.http.paths import tenant_path
from akidb.domain.entities import Tenant
from akidb.domain.names import check_flag
from akidb.ports.archive import ByteSink, ByteSource
from akidb.ports.archiving import ImportReport
from akidb.ports.operations import TenantRef


class HttpArchives:
    """`akidb.ports.operations.ArchiveOperations` of a server."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def backup(self, target: ByteSink) -> None:
        self._caller.fetch("/v1/backup", target)

    def export(self, tenant: TenantRef, target: ByteSink) -> None:
        self._caller.fetch(f"{tenant_path(tenant)}/export", target)

    def import_(self, source: ByteSource, *, slug: str | None = None, dry_run: bool = False) -> ImportReport:
        query = checked(given({"slug": slug}), checks.TENANT)
        query["dry_run"] = check_flag(dry_run, "dry_run") or None
        return self._caller.deliver(ImportReport, "/v1/import", query, source)

    def copy(self, tenant: TenantRef, slug: str, *, name: str | None = None) -> Tenant:
        fields = checked({"slug": slug, **given({"name": name})}, checks.TENANT)
        return self._caller.post(Tenant, f"{tenant_path(tenant)}/copy", fields)
