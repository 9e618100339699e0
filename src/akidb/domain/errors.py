"""The errors that AkiDB raises deliberately: one class per code, with structured fields.

Each adapter translates driver errors to these in one place; each front end maps them to exit or HTTP
statuses in one table. `code` and the field names are part of the API.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

MAX_SHOWN = 200
"""Characters of a value in a message."""
MAX_NAMED = 10
"""Ids in a message."""
MAX_IDS = 100
"""Ids in a field of an error."""


def shown(value: object) -> str:
    """Return a value for a message, of bounded length: text in quotes, objects and lists as JSON."""
    if isinstance(value, Mapping | list | tuple):
        text = json.dumps(value, ensure_ascii=False, default=str)
    else:
        text = repr(str(value))
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"


class AkiDBError(Exception):
    """Base class of all AkiDB errors. `fields` are machine-readable details.

    `message` is for callers in process and on the same machine; a server says `public` to all others, without
    paths, names of databases and users, and texts of drivers.
    """

    code: ClassVar[str] = "internal"
    title: ClassVar[str] = "Internal error"

    def __init__(self, message: str, **fields: Any) -> None:
        super().__init__(message)
        self.message = message
        self.public = message
        self.fields: dict[str, Any] = fields

    def __reduce__(self) -> tuple[Any, ...]:
        # Bypasses __init__, whose arguments differ in each class.
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(kind: type[AkiDBError], args: tuple[Any, ...], state: dict[str, Any]) -> AkiDBError:
    """Recreate a pickled error."""
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class NotFound(AkiDBError):
    """The entity does not exist, or is not visible to the caller."""

    code = "not_found"
    title = "Not found"

    def __init__(self, entity: str, id: object) -> None:
        super().__init__(f"{entity} {str(id)!r} does not exist", entity=entity, id=str(id))


class AlreadyExists(AkiDBError):
    """An entity with that unique value already exists, or differs in `field` from what was asked for."""

    code = "already_exists"
    title = "Already exists"

    def __init__(self, entity: str, field: str, value: object, *, message: str | None = None) -> None:
        super().__init__(
            message or f"{entity} with {field} {shown(value)} already exists",
            entity=entity,
            field=field,
            value=shown(value) if isinstance(value, Mapping | list | tuple) else str(value),
        )


def documents_exist(ids: Sequence[str]) -> AlreadyExists:
    """Return the error for an insert of documents with these ids; its field `ids` has the first 100."""
    some = f"{', '.join(shown(id) for id in ids[:MAX_NAMED])}{', ...' if len(ids) > MAX_NAMED else ''}"
    said = (
        f"document {some} already exists" if len(ids) == 1 else f"{len(ids)} documents already exist: {some}"
    )
    error = AlreadyExists("document", "id", ids[0], message=said)
    error.fields |= {"ids": list(ids[:MAX_IDS]), "existing": len(ids)}
    return error


class InvalidArgument(AkiDBError):
    """An argument is invalid; `field` is its path, as in `documents[3].vector`."""

    code = "invalid_argument"
    title = "Invalid argument"

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}", field=field, reason=reason)

    @property
    def field(self) -> str:
        """The path of the invalid argument."""
        return str(self.fields["field"])

    @property
    def reason(self) -> str:
        """Why the argument is invalid."""
        return str(self.fields["reason"])


class InvalidState(AkiDBError):
    """The entity's state does not allow the operation."""

    code = "invalid_state"
    title = "Invalid state"

    def __init__(self, entity: str, state: str, operation: str, allowed: Sequence[str]) -> None:
        super().__init__(
            f"{operation} is not allowed while the {entity} is {state}"
            + (f" (allowed: {', '.join(allowed)})" if allowed else ""),
            entity=entity,
            state=state,
            operation=operation,
            allowed=list(allowed),
        )


class QuotaExceeded(AkiDBError):
    """The write would exceed a quota."""

    code = "quota_exceeded"
    title = "Quota exceeded"

    def __init__(self, quota: str, limit: int, used: int, requested: int) -> None:
        super().__init__(
            f"{quota} is {limit}: {used} used, {requested} more requested",
            quota=quota,
            limit=limit,
            used=used,
            requested=requested,
        )


class RateLimited(AkiDBError):
    """The tenant's rate limit is exceeded; retry after `retry_after_seconds`."""

    code = "rate_limited"
    title = "Too many requests"

    def __init__(self, limit: int, retry_after_seconds: float) -> None:
        reason = f"more than {limit} operations per second"
        super().__init__(reason if limit else "no operations are allowed: qps_quota is 0", limit=limit)
        self.retry_after_seconds = retry_after_seconds


class Overloaded(AkiDBError):
    """A queue of the server is full; retry after `retry_after_seconds`."""

    code = "overloaded"
    title = "Overloaded"

    def __init__(self, queue: str, retry_after_seconds: float = 1.0) -> None:
        super().__init__(f"the {queue} queue is full", queue=queue)
        self.retry_after_seconds = retry_after_seconds


class OperationTimeout(AkiDBError):
    """The operation ran longer than its time limit, and changed nothing."""

    code = "timeout"
    title = "Timeout"

    def __init__(self, field: str, timeout_seconds: float) -> None:
        super().__init__(
            f"{field}: not all documents could be compared with it within {timeout_seconds:g} seconds;"
            " use fewer conditions, or a smaller collection",
            field=field,
            timeout_seconds=timeout_seconds,
        )


class Unauthenticated(AkiDBError):
    """The request has no valid credential."""

    code = "unauthenticated"
    title = "Unauthenticated"

    def __init__(self) -> None:
        super().__init__("a valid credential is needed")


class PermissionDenied(AkiDBError):
    """The caller may not perform this action."""

    code = "permission_denied"
    title = "Permission denied"

    def __init__(self, action: str) -> None:
        super().__init__(f"{action} is not permitted", action=action)


class PreconditionFailed(AkiDBError):
    """The expected version is not the current version."""

    code = "precondition_failed"
    title = "Precondition failed"

    def __init__(self, entity: str, expected: int, actual: int) -> None:
        super().__init__(
            f"the {entity} is at version {actual}, not {expected}",
            entity=entity,
            expected=expected,
            actual=actual,
        )


class IdempotencyMismatch(AkiDBError):
    """The idempotency key was already used with a different request."""

    code = "idempotency_mismatch"
    title = "Idempotency key reused"

    def __init__(self) -> None:
        super().__init__("this Idempotency-Key was used with another request")


class Unavailable(AkiDBError):
    """A store or model cannot be used now; the message says why and how to fix it."""

    code = "unavailable"
    title = "Unavailable"

    def __init__(self, message: str, *, public: str | None = None) -> None:
        super().__init__(message)
        self.public = message if public is None else public


class StorageFull(Unavailable):
    """The disk of a store is full, but for the reserve that deleting may use. Nothing was changed."""

    code = "storage_full"
    title = "Storage full"


class Damaged(AkiDBError):
    """The stored bytes of a document or a deletion do not match their checksum, or a row has wrong values.

    Others can be read.
    """

    code = "damaged"
    title = "Damaged data"

    def __init__(self, document_id: str | None, document_key: int, collection_id: object) -> None:
        name = f"in row {document_key}" if document_id is None else f"{document_id!r} (row {document_key})"
        super().__init__(
            f"document {name} of collection {collection_id} is damaged; write it again, delete it, or restore"
            " it from a backup",
            document_id=document_id,
            document_key=document_key,
            collection_id=str(collection_id),
        )

    @classmethod
    def row(cls, entity: str, id: str | None, *, tenant_id: str | None, field: str | None) -> "Damaged":
        """Return the error for a row of metadata: an `entity`, or another kind of row.

        `field` is the column whose value cannot be read, None if it is not known.
        """
        error = cls.__new__(cls)
        of_tenant = "" if tenant_id in {None, id} else f" of tenant {tenant_id}"
        what = "it" if field is None else f"its {field}"
        AkiDBError.__init__(
            error,
            f"{entity} {id or '?'}{of_tenant} is damaged: {what} cannot be read; restore a backup, or remove"
            " it by its ID, whatever its state: purge, or delete for a user; `akidb doctor` finds such rows",
            entity=entity,
            id=id,
            tenant_id=tenant_id,
            damaged_field=field,
        )
        return error

    @classmethod
    def deletion(cls, sequence: int | None, collection_id: object) -> Self:
        """Return the error for a deletion, so that the change feed of the collection has a gap."""
        name = "a deletion" if sequence is None else f"the deletion with sequence {sequence}"
        error = cls.__new__(cls)
        AkiDBError.__init__(
            error,
            f"{name} of collection {collection_id} is damaged; `akidb doctor --repair` discards the"
            " deletions of the collection",
            document_id=None,
            sequence=sequence,
            collection_id=str(collection_id),
        )
        return error

    @property
    def document_id(self) -> str | None:
        """The id of the document, None if it is damaged too, or if this is about a row of metadata."""
        id: str | None = self.fields.get("document_id")
        return id


class Internal(AkiDBError):
    """A defect of AkiDB or of one of its dependencies."""

    code = "internal"
    title = "Internal error"

    def __init__(self, message: str = "internal error", *, public: str | None = None) -> None:
        super().__init__(message)
        self.public = message if public is None else public
