"""The fields of requests: the type, check, JSON schema and description of each, declared once.

Client and server both run the check, so that they report the same error for an invalid value. It returns the
value in the form that handlers use: a `TenantId` for its text, a parsed `Filter`.
"""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Collection as AbstractCollection
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import msgspec
from msgspec import Meta

from akidb.domain.batches import (
    check_batch,
    check_filter,
    check_ids,
    check_selector,
)
from akidb.domain.changes import FEED_PATTERN, MAX_WAIT_SECONDS, check_token, check_wait
from akidb.domain.cursors import check_cursor
from akidb.domain.documents import (
    MAX_BATCH_DOCUMENTS,
    MAX_PAGE_LIMIT,
    DocumentInput,
    DocumentLike,
    UpsertMode,
)
from akidb.domain.embedding import MAX_TEXTS, check_model, check_texts
from akidb.domain.entities import MAX_DIMENSION, MIN_DIMENSION, Metric, UserRole
from akidb.domain.errors import InvalidArgument
from akidb.domain.field_values import MAX_NAME_BYTES, check_field
from akidb.domain.ids import CollectionId, DatabaseId, EntityId, TenantId, UserId
from akidb.domain.json import MAX_SMALL_OBJECT_BYTES, check_object
from akidb.domain.lifecycle import DatabaseState, TenantStatus
from akidb.domain.lists import TenantSort
from akidb.domain.names import (
    MAX_EMAIL_BYTES,
    MAX_INTEGER,
    MAX_PASSWORD_BYTES,
    MIN_PASSWORD_BYTES,
    WordT,
    check_email,
    check_flag,
    check_integer,
    check_label,
    check_name,
    check_password,
    check_quota,
    check_slug,
    check_text,
    check_word,
    parse_reference,
)
from akidb.domain.parts import PATTERN, check_include

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from akidb.domain.filters import Filter

    FilterLike = Mapping[str, Any] | Filter
    VectorLike = Sequence[float] | NDArray[np.float32]
else:  # NumPy and filters are imported only where they are used, so that the command line starts quickly
    FilterLike = Mapping[str, Any]
    VectorLike = Sequence[float]

FIRST_STATUSES = (TenantStatus.ACTIVE, TenantStatus.PROVISIONING)
FIRST_STATES = (DatabaseState.READY, DatabaseState.PROVISIONING)
MAX_DESCRIPTION_BYTES = 4096
MAX_REASON_BYTES = 4096

Check = Callable[[Any, str], Any]
"""Called with a value and the field's name; raises InvalidArgument, or returns the value to use."""

_CONTROL = r"\x00-\x1f\x7f-\x9f"


class Field(NamedTuple):
    """The rules of a field."""

    check: Check
    wire: Any
    """The type in JSON, if it differs from the annotation."""
    help: str
    words: tuple[str, ...]
    """The allowed values of an enumeration."""
    is_decoded: bool
    """Whether a server decodes it as its JSON type before the check, for speed."""
    kind: type | None
    """A type of values that need no check."""


def field(
    check: Check,
    help: str,
    *,
    wire: Any = None,
    words: Sequence[str] = (),
    is_decoded: bool = False,
    kind: type | None = None,
    **schema: Any,
) -> Meta:
    """Declare a field; `schema` holds its JSON schema keywords besides the type."""
    rules = Field(check, wire, help, tuple(map(str, words)), is_decoded, kind)
    return Meta(description=help, extra_json_schema=schema, extra={"field": rules})


def whole(help: str, minimum: int = 0, maximum: int = MAX_INTEGER) -> Meta:
    """Declare an integer field with inclusive bounds."""
    check = partial(check_integer, minimum=minimum, maximum=maximum)
    return field(check, help, minimum=minimum, maximum=maximum)


def quota(help: str) -> Meta:
    """Declare a quota: null, or the largest integer, is no limit."""
    return field(check_quota, f"{help}; null for no limit.", minimum=0, maximum=MAX_INTEGER)


def text(help: str, maximum_bytes: int) -> Meta:
    """Declare a free-text field."""
    return field(partial(check_text, maximum_bytes=maximum_bytes), help, maxLength=maximum_bytes)


def word(kind: type[StrEnum], help: str) -> Meta:
    """Declare an enumeration field."""
    return field(partial(check_word, kind), help, words=tuple(kind), kind=kind)


def label(help: str) -> Meta:
    """Declare a single-line text field."""
    pattern = rf"^[^{_CONTROL}]*[^\s{_CONTROL}][^{_CONTROL}]*$"
    return field(check_label, help, pattern=pattern, minLength=1, maxLength=255)


def reference(kind: type[EntityId], help: str) -> Meta:
    """Declare a reference to an entity: its typed ID, the ID as text, or its name."""
    return field(lambda value, _: parse_reference(kind, value), help, wire=str, kind=kind, minLength=1)


def rules_of(hint: Any) -> Field | None:
    """Return the rules in an annotation (for a union, of the first member that has any), or None."""
    if isinstance(hint, type) or hint is None:
        return None
    for meta in getattr(hint, "__metadata__", ()):
        if isinstance(meta, msgspec.Meta) and meta.extra is not None:
            rules: Field = meta.extra["field"]
            return rules
    for member in getattr(hint, "__args__", ()):
        if (found := rules_of(member)) is not None:
            return found
    return None


def bounds_of(hint: Any) -> tuple[int, int]:
    """Return the inclusive bounds of an integer field."""
    (meta,) = (meta for meta in hint.__metadata__ if isinstance(meta, msgspec.Meta))
    schema = meta.extra_json_schema or {}
    return schema["minimum"], schema["maximum"]


def _check_first(kind: type[WordT], words: Sequence[WordT], entity: str, value: object, field: str) -> WordT:
    found = check_word(kind, value, field)
    if found not in words:
        raise InvalidArgument(field, f"must be {' or '.join(words)} for a new {entity}")
    return found


TenantRef = Annotated[TenantId | str, reference(TenantId, "The tenant's ID or slug.")]
DatabaseRef = Annotated[DatabaseId | str, reference(DatabaseId, "The database's ID or name.")]
CollectionRef = Annotated[CollectionId | str, reference(CollectionId, "The collection's ID or name.")]
UserRef = Annotated[UserId | str, reference(UserId, "The user's ID or email.")]


REFERENCES: Mapping[type[EntityId], Field] = {
    kind: rules
    for kind, hint in (
        (TenantId, TenantRef),
        (DatabaseId, DatabaseRef),
        (CollectionId, CollectionRef),
        (UserId, UserRef),
    )
    if (rules := rules_of(hint)) is not None
}
"""The rules of the reference to each kind of entity."""


class CollectionPath(NamedTuple):
    """The references that address a collection."""

    tenant: TenantRef
    database: DatabaseRef
    collection: CollectionRef


Slug = Annotated[
    str,
    field(
        check_slug,
        "1-63 characters from a-z, 0-9 and -; unique among tenants.",
        pattern="^[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
        minLength=1,
        maxLength=63,
    ),
]
TenantName = Annotated[str, label("Display name of the tenant.")]
ExternalId = Annotated[str, label("The tenant's ID in another system; unique among tenants.")]
ExactName = Annotated[str, label("Only tenants with exactly this name, also in case.")]
NamePart = Annotated[str, label("Only tenants whose name contains this text, ignoring case.")]
FirstStatus = Annotated[
    TenantStatus,
    field(
        partial(_check_first, TenantStatus, FIRST_STATUSES, "tenant"),
        "Initial status of the tenant.",
        wire=str,
        words=FIRST_STATUSES,
        enum=FIRST_STATUSES,
    ),
]
Status = Annotated[TenantStatus, word(TenantStatus, "The tenant's status.")]
Sort = Annotated[TenantSort, word(TenantSort, "Sort order; a leading minus means descending, as in -name.")]
MemoryQuota = Annotated[int, quota("Maximum memory of the tenant's indexes per process, in bytes")]
StorageQuota = Annotated[int, quota("Maximum size of the tenant's live documents, in bytes")]
QpsQuota = Annotated[int, quota("Maximum document and search operations per second")]
JsonObject = Annotated[Mapping[str, Any], field(check_object, "A JSON object.", wire=dict[str, Any])]
SmallObject = Annotated[
    Mapping[str, Any],
    field(
        partial(check_object, most_bytes=MAX_SMALL_OBJECT_BYTES),
        "A JSON object of at most 64 KiB.",
        wire=dict[str, Any],
    ),
]
Reason = Annotated[str, text("The reason; recorded in the audit log.", MAX_REASON_BYTES)]

Name = Annotated[
    str,
    field(
        check_name,
        "1-128 characters: letters, digits, _ . and -, starting with a letter or digit.",
        pattern="^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        minLength=1,
        maxLength=128,
    ),
]
Description = Annotated[str, text("Description of the database.", MAX_DESCRIPTION_BYTES)]
FirstState = Annotated[
    DatabaseState,
    field(
        partial(_check_first, DatabaseState, FIRST_STATES, "database"),
        "Initial state of the database.",
        wire=str,
        words=FIRST_STATES,
        enum=FIRST_STATES,
    ),
]
State = Annotated[DatabaseState, word(DatabaseState, "The database's state.")]
SchemaVersion = Annotated[int, whole("The application's own version of its data schema.", 1, 2**31 - 1)]

Dimension = Annotated[int, whole("The length of each vector.", MIN_DIMENSION, MAX_DIMENSION)]
MetricWord = Annotated[Metric, word(Metric, "The similarity metric.")]
Model = Annotated[str, field(check_model, "The name of an embedding model.")]
HnswM = Annotated[int, whole("Neighbours per node in an HNSW graph.", 2, 512)]
EfConstruction = Annotated[int, whole("Candidates considered when building an HNSW graph.", 1, 4096)]
DocumentCount = Annotated[int, whole("Maximum number of documents in the collection.")]

Email = Annotated[
    str,
    field(
        check_email,
        "The user's email address; unique within the tenant, ignoring case.",
        pattern=r"^[^@\s/]+@[^@\s/]+$",
        minLength=3,
        maxLength=MAX_EMAIL_BYTES,
    ),
]
NewPassword = Annotated[
    str,
    field(
        check_password,
        "The password to set.",
        minLength=MIN_PASSWORD_BYTES,
        maxLength=MAX_PASSWORD_BYTES,
        writeOnly=True,
    ),
]
GivenPassword = Annotated[
    str,
    field(
        partial(check_text, maximum_bytes=MAX_PASSWORD_BYTES),
        "The password to verify.",
        maxLength=MAX_PASSWORD_BYTES,
        writeOnly=True,
    ),
]
Role = Annotated[UserRole, word(UserRole, "The user's role in the tenant.")]

Documents = Annotated[
    Sequence[DocumentLike],
    field(
        check_batch,
        "Documents with an `id` (generated if absent), and at least one of `text`, `vector` and `metadata`.",
        wire=list[DocumentInput],
        is_decoded=True,
        minItems=1,
        maxItems=MAX_BATCH_DOCUMENTS,
    ),
]
Mode = Annotated[
    UpsertMode,
    word(
        UpsertMode,
        "What to do with documents that exist: replace them (upsert), refuse all (insert), keep them (skip);"
        " or change only those that exist, in the parts that are given (update).",
    ),
]
Ids = Annotated[
    Sequence[str],
    field(check_ids, "Document ids.", wire=list[str], minItems=1, maxItems=MAX_BATCH_DOCUMENTS),
]
Where = Annotated[
    FilterLike,
    field(check_filter, "Only documents that match this filter.", wire=dict[str, Any]),
]
Selector = Annotated[
    FilterLike,
    field(check_selector, "Filter that selects the documents; must not be empty.", wire=dict[str, Any]),
]
Part = Annotated[str, Meta(extra_json_schema={"pattern": PATTERN})]
Parts = Annotated[
    AbstractCollection[str],
    field(
        check_include,
        "Parts of each document to return: text, metadata, vector; metadata.FIELD for a field of metadata.",
        wire=list[Part],
    ),
]
FieldName = Annotated[
    str, field(check_field, "A metadata field, as in a filter.", pattern="^[^$]", maxLength=MAX_NAME_BYTES)
]
OrderBy = Annotated[
    str,
    field(
        check_field,
        "A metadata field by which to sort, as in a filter.",
        pattern="^[^$]",
        maxLength=MAX_NAME_BYTES,
    ),
]
Descending = Annotated[bool, field(check_flag, "Sort by `order_by` in descending order.")]
Texts = Annotated[
    Sequence[str], field(check_texts, "Texts to embed.", wire=list[str], minItems=1, maxItems=MAX_TEXTS)
]

Flag = Annotated[bool, field(check_flag, "true or false.")]
Deleted = Annotated[bool, field(check_flag, "Select only deleted entities.")]
NewIds = Annotated[
    bool, field(check_flag, "Give new IDs to the tenant and all that it has, as after a purge.")
]
DryRun = Annotated[bool, field(check_flag, "Report what would be done without changing anything.")]
Limit = Annotated[int, whole("Maximum number of items to return.", 1, MAX_PAGE_LIMIT)]
Cursor = Annotated[str, field(check_cursor, "The `next_cursor` of the previous page.")]
Version = Annotated[int, whole("Fail unless this is the current version.", 1)]
Since = Annotated[int, whole("Return changes after this sequence number; 0 returns everything.")]
Feed = Annotated[
    str,
    field(check_token, "The `feed` of the previous response.", pattern=FEED_PATTERN),
]
WaitSeconds = Annotated[
    float,
    field(check_wait, "Maximum time to wait for a change, in seconds.", minimum=0, maximum=MAX_WAIT_SECONDS),
]
