"""What a field of a request may hold: its type, check, JSON schema and description, declared once.

A check is made by every process that sees the request, so that a server and its client say the same of a
wrong value. It returns the value in the form that handlers use: a `TenantId` for its text, a parsed `Filter`.
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
    check_include,
    check_number,
    check_selector,
)
from akidb.domain.changes import FEED_PATTERN, MAX_WAIT_SECONDS, check_token, check_wait
from akidb.domain.cursors import check_cursor
from akidb.domain.documents import (
    MAX_BATCH_DOCUMENTS,
    MAX_PAGE_LIMIT,
    MAX_TEXT_BYTES,
    MAX_TOP_K,
    DocumentInput,
    DocumentLike,
    Include,
)
from akidb.domain.embedding import MAX_TEXTS, check_model, check_texts
from akidb.domain.entities import MAX_DIMENSION, MIN_DIMENSION, Metric, UserRole
from akidb.domain.errors import InvalidArgument
from akidb.domain.ids import CollectionId, DatabaseId, EntityId, TenantId, UserId
from akidb.domain.json import check_object
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
    check_slug,
    check_text,
    check_word,
    parse_reference,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from akidb.domain.filters import Filter

    FilterLike = Mapping[str, Any] | Filter
    VectorLike = Sequence[float] | NDArray[np.float32]
else:  # NumPy is loaded by those who make vectors, filters by those who filter: a command line starts without
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
    """Its type in JSON, where that is not the annotated one."""
    help: str
    words: tuple[str, ...]
    """What it may be, where that is one of a few words."""
    is_decoded: bool
    """Whether a server decodes it as its JSON type, for speed, before it is checked."""


def field(
    check: Check,
    help: str,
    *,
    wire: Any = None,
    words: Sequence[str] = (),
    is_decoded: bool = False,
    **schema: Any,
) -> Meta:
    """Declare a field; `schema` is what its JSON schema says beside the type."""
    rules = Field(check, wire, help, tuple(map(str, words)), is_decoded)
    return Meta(description=help, extra_json_schema=schema, extra={"field": rules})


def whole(help: str, minimum: int = 0, maximum: int = MAX_INTEGER) -> Meta:
    """A whole number within bounds."""
    check = partial(check_integer, minimum=minimum, maximum=maximum)
    return field(check, help, minimum=minimum, maximum=maximum)


def text(help: str, maximum_bytes: int) -> Meta:
    """Free text."""
    return field(partial(check_text, maximum_bytes=maximum_bytes), help, maxLength=maximum_bytes)


def word(kind: type[StrEnum], help: str) -> Meta:
    """One of the words of an enumeration."""
    return field(partial(check_word, kind), help, words=tuple(kind))


def label(help: str) -> Meta:
    """A line of text for people."""
    pattern = rf"^[^{_CONTROL}]*[^\s{_CONTROL}][^{_CONTROL}]*$"
    return field(check_label, help, pattern=pattern, minLength=1, maxLength=255)


def reference(kind: type[EntityId], help: str) -> Meta:
    """What identifies a thing: its typed ID, the text of that, or its name."""
    return field(lambda value, _: parse_reference(kind, value), help, wire=str, minLength=1)


def rules_of(hint: Any) -> Field | None:
    """The rules in an annotation; of a union, those of the member that has any."""
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
"""The rules of what identifies each kind of entity."""


class CollectionPath(NamedTuple):
    """A collection and what contains it."""

    tenant: TenantRef
    database: DatabaseRef
    collection: CollectionRef


Slug = Annotated[
    str,
    field(
        check_slug,
        "1-63 of a-z, 0-9 and -; unique among tenants.",
        pattern="^[a-z0-9]([a-z0-9-]*[a-z0-9])?$",
        minLength=1,
        maxLength=63,
    ),
]
TenantName = Annotated[str, label("The tenant's name, for people.")]
ExternalId = Annotated[str, label("The tenant's ID in another system; unique among tenants.")]
NamePart = Annotated[str, label("Only tenants whose name contains this text, ignoring case.")]
FirstStatus = Annotated[
    TenantStatus,
    field(
        partial(_check_first, TenantStatus, FIRST_STATUSES, "tenant"),
        "The status of the new tenant.",
        wire=str,
        words=FIRST_STATUSES,
        enum=FIRST_STATUSES,
    ),
]
Status = Annotated[TenantStatus, word(TenantStatus, "The tenant's status.")]
Sort = Annotated[TenantSort, word(TenantSort, "The order; a leading minus reverses it, as in -name.")]
MemoryQuota = Annotated[int, whole("The most memory for the tenant's indexes in a process, in bytes.")]
StorageQuota = Annotated[int, whole("The most bytes of live documents that the tenant may store.")]
QpsQuota = Annotated[int, whole("Document, search and embedding operations per second.")]
JsonObject = Annotated[Mapping[str, Any], field(check_object, "A JSON object.", wire=dict[str, Any])]
Reason = Annotated[str, text("Why; recorded in the audit.", MAX_REASON_BYTES)]

Name = Annotated[
    str,
    field(
        check_name,
        "1-128 of letters, digits, _ . and -, starting with a letter or digit.",
        pattern="^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        minLength=1,
        maxLength=128,
    ),
]
Description = Annotated[str, text("What the database is for.", MAX_DESCRIPTION_BYTES)]
FirstState = Annotated[
    DatabaseState,
    field(
        partial(_check_first, DatabaseState, FIRST_STATES, "database"),
        "The state of the new database.",
        wire=str,
        words=FIRST_STATES,
        enum=FIRST_STATES,
    ),
]
State = Annotated[DatabaseState, word(DatabaseState, "The database's state.")]
SchemaVersion = Annotated[int, whole("The application's own version of its data.", 1, 2**31 - 1)]

Dimension = Annotated[int, whole("The length of each vector.", MIN_DIMENSION, MAX_DIMENSION)]
MetricWord = Annotated[Metric, word(Metric, "How vectors are compared.")]
Model = Annotated[str, field(check_model, "The name of an embedding model.")]
HnswM = Annotated[int, whole("Neighbours of each node in an HNSW graph.", 2, 512)]
EfConstruction = Annotated[int, whole("Candidates considered when an HNSW graph is built.", 1, 4096)]
DocumentCount = Annotated[int, whole("The most documents that the collection may hold.")]

Email = Annotated[
    str,
    field(
        check_email,
        "The user's email; unique in the tenant, ignoring case.",
        pattern=r"^[^@\s/]+@[^@\s/]+$",
        minLength=3,
        maxLength=MAX_EMAIL_BYTES,
    ),
]
NewPassword = Annotated[
    str,
    field(
        check_password,
        "A password to set.",
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
        "Each with an `id` (generated if absent), a `text` or a `vector` or both, and `metadata`.",
        wire=list[DocumentInput],
        is_decoded=True,
        minItems=1,
        maxItems=MAX_BATCH_DOCUMENTS,
    ),
]
Ids = Annotated[
    Sequence[str],
    field(check_ids, "Document ids.", wire=list[str], minItems=1, maxItems=MAX_BATCH_DOCUMENTS),
]
Where = Annotated[
    FilterLike,
    field(check_filter, "Only documents that match.", wire=dict[str, Any]),
]
Selector = Annotated[
    FilterLike,
    field(check_selector, "The documents that match; must not be empty.", wire=dict[str, Any]),
]
Parts = Annotated[
    AbstractCollection[Include],
    field(check_include, "Which of text, metadata and vector to return.", wire=list[Include]),
]
Query = Annotated[
    str, text("The text to search for; needs a collection with an embedding model.", MAX_TEXT_BYTES)
]
QueryVector = Annotated[
    VectorLike,
    field(
        lambda value, _: value,  # by the collection's dimension and metric, once that is found
        "The vector to search for.",
        wire=list[float],
        is_decoded=True,
        minItems=MIN_DIMENSION,
        maxItems=MAX_DIMENSION,
    ),
]
TopK = Annotated[int, whole("The most matches to return.", 1, MAX_TOP_K)]
EfSearch = Annotated[int, whole("Candidates considered by an approximate index.", 1, MAX_TOP_K)]
Score = Annotated[float, field(check_number, "Leave out matches that score below this.")]
Texts = Annotated[
    Sequence[str], field(check_texts, "Texts to embed.", wire=list[str], minItems=1, maxItems=MAX_TEXTS)
]

Flag = Annotated[bool, field(check_flag, "true or false.")]
Deleted = Annotated[bool, field(check_flag, "Only deleted ones.")]
DryRun = Annotated[bool, field(check_flag, "Report what would be done, and change nothing.")]
Limit = Annotated[int, whole("The most items to return.", 1, MAX_PAGE_LIMIT)]
Cursor = Annotated[str, field(check_cursor, "Where to continue: the `next_cursor` of the previous page.")]
Version = Annotated[int, whole("Do it only if this is the current version.", 1)]
Since = Annotated[int, whole("Return what changed after this sequence; 0 for everything.")]
Feed = Annotated[
    str,
    field(check_token, "The `feed` of the previous answer.", pattern=FEED_PATTERN),
]
WaitSeconds = Annotated[
    float,
    field(check_wait, "How long to wait for a change.", minimum=0, maximum=MAX_WAIT_SECONDS),
]
