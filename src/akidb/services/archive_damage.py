"""Damage and archives: a backup leaves tenants out whose rows or store cannot be read, and names them.

A tenant is a unit: one with any damaged row, or with a store that a restore would refuse, is left out
completely, so that what a backup contains can be restored. Damaged rows that belong to no tenant, such as
audit entries, are left out alone.
"""

from collections.abc import Callable, Iterator, Sequence

from akidb.domain.errors import AkiDBError, Damaged, InvalidArgument
from akidb.domain.ids import TenantId
from akidb.observe.logs import logger
from akidb.ports.archive import (
    TENANT_TABLES,
    CollectionRecord,
    DatabaseRecord,
    Rows,
    TenantRecord,
    UserRecord,
)
from akidb.ports.metadata import MetadataTransaction
from akidb.services.archive_checks import check_rows

OF_TENANTS = (*TENANT_TABLES, "legacy_manifests")
"""The archived tables whose rows belong to a tenant, and are left out with it."""
_log = logger("akidb.services")


class Survey:
    """What is sound, read before anything is sent."""

    def __init__(self, tx: MetadataTransaction) -> None:
        """Read all rows that belong to tenants."""
        self.left_out: set[TenantId] = set()
        self.rows_left_out = 0
        tenants: set[TenantId] = set()
        for table in OF_TENANTS:
            for part in sound_rows(tx, table, None, self._note):
                tenants.update(row.tenant_id for row in part.rows if isinstance(row, TenantRecord))
        tx.stores.list(self._note)
        for error in (*tx.outbox.faults(), *tx.records.strays()):
            self._note(error)
        self.tenants = tenants - self.left_out
        """The tenants to archive, also deleted ones."""

    def named(self) -> list[TenantId]:
        """Return the tenants that are left out, in order."""
        return sorted(self.left_out, key=lambda tenant_id: tenant_id.raw)

    def rows(self, tx: MetadataTransaction, table: str) -> Iterator[Rows]:
        """Yield the sound rows of a table, without those of tenants that are left out.

        Raises Damaged for a tenant's row that has been damaged since the survey.
        """
        for part in sound_rows(tx, table, None, self._again if table in OF_TENANTS else self._note_row):
            rows = part.rows
            if table in OF_TENANTS and self.left_out:
                rows = [row for row in rows if getattr(row, "tenant_id", None) not in self.left_out]
            if rows:
                yield Rows(table, rows)

    def _note(self, error: Damaged) -> None:
        tenant_id = _tenant_of(error)
        if tenant_id is None:
            self._note_row(error)
        elif tenant_id not in self.left_out:
            self.leave_out(tenant_id, error)

    def leave_out(self, tenant_id: TenantId, error: AkiDBError) -> None:
        """Leave out a tenant, completely."""
        self.left_out.add(tenant_id)
        _log.warning("tenant %s is left out of a backup: %s", tenant_id, error.message)

    def _note_row(self, error: Damaged) -> None:
        self.rows_left_out += 1
        _log.warning("a row is left out of a backup: %s", error.message)

    def _again(self, error: Damaged) -> None:
        tenant_id = _tenant_of(error)
        if tenant_id is not None and tenant_id not in self.left_out:
            raise error


def sound_rows(
    tx: MetadataTransaction,
    table: str,
    tenant_id: TenantId | None,
    damaged: Callable[[Damaged], object] | None,
) -> Iterator[Rows]:
    """Yield the rows that a reader of the archive accepts.

    Gives the errors of others to `damaged`; without it, raises Damaged for the first.
    """
    for part in tx.records.read(table, tenant_id, damaged):
        try:
            check_rows(part)
        except InvalidArgument:
            part = Rows(table, [row for row in part.rows if _is_sound(table, row, damaged)])  # noqa: PLW2901
        if part.rows:
            yield part


def require_parents(rows: Sequence[Rows]) -> None:
    """Raise Damaged for a row that refers to another one which is not among the tenant's rows."""
    every = [row for part in rows for row in part.rows]
    databases = {row.database_id for row in every if isinstance(row, DatabaseRecord)}
    users = {row.user_id for row in every if isinstance(row, UserRecord)}
    for row in every:
        if isinstance(row, CollectionRecord) and row.database_id not in databases:
            tenant_id = str(row.tenant_id)
            raise Damaged.row("database", str(row.database_id), tenant_id=tenant_id, field=None)
        if isinstance(row, UserRecord) and row.created_by is not None and row.created_by not in users:
            tenant_id = str(row.tenant_id)
            raise Damaged.row("user", str(row.user_id), tenant_id=tenant_id, field="created_by")


def _is_sound(table: str, row: object, damaged: Callable[[Damaged], object] | None) -> bool:
    try:
        check_rows(Rows(table, [row]))  # type: ignore[list-item]
    except InvalidArgument as wrong:
        key = row.__struct_fields__[0]  # type: ignore[attr-defined]
        tenant_id = getattr(row, "tenant_id", None)
        error = Damaged.row(
            table.removesuffix("s").replace("_", " "),
            str(getattr(row, key)),
            tenant_id=None if tenant_id is None else str(tenant_id),
            field=wrong.field.rpartition(".")[2],
        )
        if damaged is None:
            raise error from None
        damaged(error)
        return False
    return True


def _tenant_of(error: Damaged) -> TenantId | None:
    """Return the tenant of a damaged row, None if it cannot be told."""
    try:
        return TenantId.parse(error.fields["tenant_id"])
    except InvalidArgument:
        return None
