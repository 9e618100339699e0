"""Looks for rows that cannot be read: what no constraint lets in, written past the constraints.

A list leaves such a row out; this names it, for `akidb doctor`. Repairs nothing.
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
# As text, whatever it is: what cannot be read here was told of already.
_NAMES = Prepared(
    sa.select(sa.type_coerce(tenants.c.tenant_id, sa.types.NullType), tenants.c.name, tenants.c.name_folded)
)


def find_faults(connection: sa.Connection) -> list[str]:
    """What is wrong with rows of the metadata; the connection is in a transaction."""
    return list(islice(_faults(connection), MAX_NAMED))


def _faults(connection: sa.Connection) -> Iterator[str]:
    for name, statement in _ALL.items():
        for key, error in statement.faults(connection):
            yield f"{name} {_shown(key)} cannot be read: {error!r}"
    for key, tenant_name, folded in _NAMES.stream(connection):
        if folded != fold_name(tenant_name):
            yield f"tenant {_shown(key)} is not found by its name: it was renamed by other means"


def _shown(key: object) -> str:
    """An ID as the driver gives it, whatever its form."""
    if not isinstance(key, bytes) or len(key) != 16:
        return str(key)
    h = key.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"
