"""Finds unreadable rows: values that the constraints forbid, written while bypassing them.

Lists skip such rows; this reports them, for `akidb doctor`. It repairs nothing.
"""

from collections.abc import Iterator
from itertools import islice

import msgspec
import sqlalchemy as sa

from akidb.domain.entities import AuditEntry, Collection, Database, Tenant, User
from akidb.domain.names import fold_name
from akidb.metadata.tables import audit_entries, collections, databases, tenants, users
from akidb.sql.prepared import Prepared

MAX_NAMED = 100

_KINDS: dict[str, tuple[type[msgspec.Struct], sa.Table]] = {
    "tenant": (Tenant, tenants),
    "database": (Database, databases),
    "collection": (Collection, collections),
    "user": (User, users),
    "audit entry": (AuditEntry, audit_entries),
}
_ALL = {
    name: Prepared(sa.select(*(table.c[field] for field in kind.__struct_fields__)), kind)
    for name, (kind, table) in _KINDS.items()
}
# Raw IDs, not converted: rows with unreadable values are reported above.
_NAMES = Prepared(
    sa.select(sa.type_coerce(tenants.c.tenant_id, sa.types.NullType), tenants.c.name, tenants.c.name_folded)
)


def find_faults(connection: sa.Connection) -> list[str]:
    """Return the faults found in metadata rows. The connection must be in a transaction."""
    return list(islice(_faults(connection), MAX_NAMED))


def _faults(connection: sa.Connection) -> Iterator[str]:
    for name, statement in _ALL.items():
        for key, error in statement.faults(connection):
            yield f"{name} {_shown(key)} cannot be read ({type(error).__name__})"
    for key, tenant_name, folded in _NAMES.stream(connection):
        if isinstance(tenant_name, str) and folded != fold_name(tenant_name):
            yield f"tenant {_shown(key)} cannot be found by name: it was renamed outside AkiDB"


def _shown(key: object) -> str:
    """Format an ID as the driver returns it, malformed or not."""
    if not isinstance(key, bytes) or len(key) != 16:
        return str(key)
    h = key.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"
