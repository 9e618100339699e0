"""Validation of archives by the same rules as user input.

Archives are untrusted. Content that passes can be stored; conflicts with stored data are checked separately
(`services/archive_conflicts.py`). Only rows of single-tenant archives, which the reader bounds, are kept.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from akidb.domain.archives import fault
from akidb.domain.errors import InvalidArgument
from akidb.domain.fields import Field
from akidb.domain.json import check_object
from akidb.domain.lifecycle import CollectionState, DatabaseState, TenantStatus
from akidb.domain.names import (
    MAX_INTEGER,
    MAX_VERSION,
    check_integer,
    check_text,
    email_key,
)
from akidb.operations import OPERATIONS
from akidb.operations.collections import CreateCollection
from akidb.operations.databases import UpdateDatabase
from akidb.operations.tenants import UpdateTenant
from akidb.operations.users import CreateUser
from akidb.ports.archive import (
    ArchiveReader,
    CollectionImage,
    CollectionRecord,
    DatabaseRecord,
    Documents,
    Header,
    LegacyRecord,
    Record,
    Rows,
    StoreHead,
    Summary,
    TenantRecord,
    Tombstones,
    UserRecord,
)
from akidb.services.archive_store_checks import StoreCheck, check_agreement
from akidb.services.passwords import Cost

if TYPE_CHECKING:
    from akidb.domain.ids import CollectionId, TenantId

_MAX_FREE_TEXT_BYTES = 64 * 1024
_MAX_WORD_BYTES = 1024
_HASH = re.compile(
    r"\$argon2id\$v=19\$m=([0-9]{1,7}),t=([0-9]{1,2}),p=([0-9]{1,2})\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}"
)
"""Salts of 8 to 64 bytes, tags of 16 to 64."""
_MAX_HASH_COST = Cost(passes=10, memory_kib=256 * 1024, lanes=16)
"""Up to three seconds; hashes created by AkiDB take 0.1 to 0.2 s."""
_MIN_KIB_PER_LANE = 8
"""RFC 9106, section 3.1: hashes with less memory cannot be verified."""


class Contents:
    """Content of a checked archive. Rows are only kept for single-tenant archives."""

    def __init__(self, header: Header) -> None:
        self.header = header
        self.digest = b""
        self.counts: dict[str, int] = {}
        self.left_out: list[TenantId] = []
        self.rows: dict[str, list[Any]] = {"tenants": [], "databases": [], "collections": [], "users": []}
        self.stored: dict[CollectionId, CollectionImage] = {}
        """Collections in the tenant's store (single-tenant archives)."""
        self.store_of: TenantId | None = None

    def renew(self, renewed: Callable[[Any], Any]) -> None:
        """Replace each row of a single-tenant archive."""
        self.rows = {table: [renewed(row) for row in rows] for table, rows in self.rows.items()}

    @property
    def tenant(self) -> TenantRecord:
        """The tenant of a single-tenant archive."""
        tenant: TenantRecord = self.rows["tenants"][0]
        return tenant


def check_archive(reader: ArchiveReader) -> Contents:
    """Read a whole archive and validate it.

    Raises InvalidArgument for the first fault; its field starts with `archive`.
    """
    contents = Contents(reader.header)
    store = StoreCheck()
    keeps = reader.header.kind == "tenant"
    cut_short: dict[TenantId, InvalidArgument] = {}
    tenant_id: TenantId | None = None
    for part in reader:
        if not isinstance(part, Documents | Tombstones):
            try:
                store.finish()
            except InvalidArgument as error:
                if keeps or tenant_id is None:
                    raise
                cut_short.setdefault(tenant_id, error.with_traceback(None))  # it refers to the parts
        if isinstance(part, StoreHead):
            tenant_id = part.tenant_id
        store.take(part)
        if isinstance(part, Rows):
            check_rows(part)
            if keeps:
                contents.rows[part.table] += part.rows
        elif keeps and isinstance(part, StoreHead):
            contents.store_of = part.tenant_id
        elif keeps and isinstance(part, CollectionImage):
            contents.stored[part.collection_id] = part
        elif isinstance(part, Summary):
            contents.counts = part.counts
            contents.left_out = part.left_out
    # A backup ends the store of a tenant that it leaves out where it finds the damage.
    for tenant_id in cut_short.keys() - contents.left_out:
        raise cut_short[tenant_id]
    contents.digest = reader.digest
    if keeps:
        _check_tenant(contents)
    return contents


def check_schemas(header: Header, metadata_schema: str, documents_schema: int) -> None:
    """Raise InvalidArgument for an archive of a schema newer than these, or of none that ever was.

    Rows of older schemas have the same form, and are checked like all others.
    """
    found = header.metadata_schema
    known = len(found) == len(metadata_schema) and found.isascii() and found.isdigit() and found >= "0001"
    _check_schema("metadata_schema", found, metadata_schema, known=known, newer=found > metadata_schema)
    number = header.documents_schema
    _check_schema(
        "documents_schema", number, documents_schema, known=number >= 1, newer=number > documents_schema
    )


def _check_schema(name: str, found: object, newest: object, *, known: bool, newer: bool) -> None:
    if not known:
        raise fault(f"is unknown: {found!r}", f".{name}")
    if newer:
        raise fault(f"is {found}, but this AkiDB supports up to {newest}; use a newer AkiDB", f".{name}")


def check_rows(part: Rows) -> None:
    """Check metadata rows. Raises InvalidArgument with the path of the field."""
    for at, row in enumerate(part.rows):
        path = f"archive.{part.table}[{at}]"
        for name in row.__struct_fields__:
            value = getattr(row, name)
            check = _check_of(part.table, name)
            if isinstance(value, datetime):
                _check_time(value, f"{path}.{name}")
            elif check is not None and value is not None:
                check(value, f"{path}.{name}")
            elif type(value) is str:
                check_text(value, f"{path}.{name}", maximum_bytes=_MAX_FREE_TEXT_BYTES)
        if isinstance(row, LegacyRecord):
            _check_manifest(row, path)
        _check_state(row, path)
        if isinstance(row, UserRecord) and row.email_key != email_key(row.email):
            raise InvalidArgument(f"{path}.email_key", "does not match the email")
        if isinstance(row, CollectionRecord):
            _check_model(row, path)


def _check_model(row: CollectionRecord, path: str) -> None:
    """Check that a collection has what follows from its embedding model."""
    if (row.embedding_model is None) != (row.embedding_fingerprint is None):
        raise InvalidArgument(f"{path}.embedding_fingerprint", "must be there if, and only if, a model is")
    if row.dimension is None and row.embedding_model is not None:
        raise InvalidArgument(f"{path}.dimension", "is needed with an embedding model")


def _check_state(row: object, path: str) -> None:
    """Check that a tenant, database or collection is deleted, or not, in all of its fields."""
    if isinstance(row, TenantRecord):
        deleted = row.status is TenantStatus.DECOMMISSIONED
    elif isinstance(row, DatabaseRecord):
        deleted = row.state is DatabaseState.DELETING
    elif isinstance(row, CollectionRecord):
        deleted = row.state is CollectionState.DELETING
    else:
        return
    if deleted != (row.deleted_at is not None):
        raise InvalidArgument(f"{path}.deleted_at", "does not match the state")
    if row.state_before_deletion is not None and not deleted:
        raise InvalidArgument(f"{path}.state_before_deletion", "is only for what was deleted")


def _check_manifest(row: LegacyRecord, path: str) -> None:
    """Check the bytes and path of a 1.x file; a migration back writes it there, below a directory."""
    if row.sha256 != hashlib.sha256(row.manifest).digest():
        raise InvalidArgument(f"{path}.sha256", "does not match the manifest")
    if b"\0" in row.path or {b"", b".", b".."} & set(row.path.split(b"/")):
        raise InvalidArgument(f"{path}.path", "must lead to a file below a directory")


def _check_time(value: datetime, path: str) -> None:
    if value.tzinfo is None:
        raise InvalidArgument(path, "must have a UTC offset")
    try:
        value.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidArgument(path, "must be between the years 1 and 9999 in UTC") from None


def _check_hash(value: object, path: str) -> None:
    """Require a password hash whose verification stays within the memory and time limits."""
    found = _HASH.fullmatch(str(value))
    if found is not None:
        memory_kib, passes, lanes = (int(number) for number in found.groups())
        most = _MAX_HASH_COST
        if (
            1 <= passes <= most.passes
            and 1 <= lanes <= most.lanes
            and lanes * _MIN_KIB_PER_LANE <= memory_kib <= most.memory_kib
        ):
            return
    raise InvalidArgument(path, "is not an Argon2id hash within the accepted limits")


def _whole(minimum: int, maximum: int = MAX_INTEGER) -> Callable[[object, str], object]:
    return lambda value, path: check_integer(value, path, minimum, maximum)


def _text(maximum_bytes: int) -> Callable[[object, str], object]:
    return lambda value, path: check_text(value, path, maximum_bytes=maximum_bytes)


def _check_raw_id(value: object, path: str) -> None:
    if not isinstance(value, bytes) or len(value) != 16:
        raise InvalidArgument(path, "must be 16 bytes")


_Check = Callable[[Any, str], object]
_FIELDS: Mapping[str, Mapping[str, Field]] = {
    "tenants": OPERATIONS[UpdateTenant].fields,
    "databases": OPERATIONS[UpdateDatabase].fields,
    "collections": OPERATIONS[CreateCollection].fields,
    "users": OPERATIONS[CreateUser].fields,
    "legacy_manifests": {"slug": OPERATIONS[UpdateTenant].fields["slug"]},
}
"""Rules for user input, by table."""
_CHECKS: Mapping[str, _Check] = {
    "version": _whole(1, MAX_VERSION),
    "metadata": check_object,
    "embedding_fingerprint": _text(_MAX_WORD_BYTES),
    "placement": _text(_MAX_WORD_BYTES),
    "password_hash": _check_hash,
    "entity_id": _check_raw_id,
}
"""Checks by field name, for all tables: fields that users do not set, or only within narrower limits."""


_SMALL = frozenset({("databases", "metadata"), ("collections", "metadata")})
"""Fields whose rules for user input hold for archives too."""


def _check_of(table: str, name: str) -> _Check | None:
    if name in _CHECKS and (table, name) not in _SMALL:
        return _CHECKS[name]
    rules = _FIELDS.get(table, {}).get(name)
    return None if rules is None else rules.check


def _check_tenant(contents: Contents) -> None:
    """Check that all content of a single-tenant archive belongs to that tenant and is consistent."""
    if len(contents.rows["tenants"]) != 1:
        raise fault(f"must contain exactly one tenant, has {len(contents.rows['tenants'])}", ".tenants")
    tenant_id = contents.tenant.tenant_id
    if contents.store_of not in {None, tenant_id}:
        raise fault(f"belongs to another tenant, {contents.store_of}", ".store")
    for table in ("databases", "collections", "users"):
        rows: Sequence[Record] = contents.rows[table]
        for at, row in enumerate(rows):
            if row.tenant_id != tenant_id:  # type: ignore[union-attr]
                raise InvalidArgument(f"archive.{table}[{at}].tenant_id", "belongs to another tenant")
    databases: list[DatabaseRecord] = contents.rows["databases"]
    known = {database.database_id for database in databases}
    collections: dict[CollectionId, CollectionRecord] = {}
    for at, collection in enumerate(contents.rows["collections"]):
        if collection.database_id not in known:
            raise InvalidArgument(
                f"archive.collections[{at}].database_id", "is not a database in the archive"
            )
        collections[collection.collection_id] = collection
    for image in contents.stored.values():
        check_agreement(image, collections.get(image.collection_id))
