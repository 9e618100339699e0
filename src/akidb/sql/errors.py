"""The one place where a driver's error becomes a domain error."""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from akidb.domain.errors import AkiDBError, Overloaded, Unavailable
from akidb.ports.conflicts import TransactionConflict

_CONFLICTS = {"40001", "40P01"}
"""PostgreSQL's states for a serialization failure and a deadlock."""
_LOCK_TIMEOUT = "55P03"
_CLASSES = {
    # PostgreSQL's classes of states.
    "08": "the connection is lost",
    "28": "the server refuses the user or the password",
    "3D": "there is no such database",
    "42": "the server refuses the statement",
    "53": "the server has no space, memory or connection left",
    "57": "the server is shutting down or starting",
    "58": "the server's disk cannot be read or written",
    "XX": "the database is damaged; restore it from a backup",
}

_PREFIXES = (
    # SQLite's result codes by name; a full disk comes as FULL, or as IOERR where the log cannot grow.
    ("SQLITE_FULL", "there is no space left on the disk"),
    ("SQLITE_IOERR", "the disk cannot be read or written; it may be full"),
    ("SQLITE_READONLY", "the file or its directory is read-only"),
    ("SQLITE_CANTOPEN", "the file cannot be opened"),
    ("SQLITE_CORRUPT", "the file is damaged; restore it from a backup"),
    ("SQLITE_NOTADB", "the file is damaged: it is no SQLite database; restore it from a backup"),
    ("SQLITE_PERM", "the file may not be accessed"),
    ("SQLITE_BUSY", "the file is locked by another program"),
    ("SQLITE_NOMEM", "there is no memory left"),
)


@contextmanager
def translated(store: str) -> Iterator[None]:
    """Turn errors of the medium into domain errors, which name the store and what is wrong.

    Unavailable for most, TransactionConflict for a transaction that was given up for another, Overloaded
    for a lock that did not come in time. Violated constraints pass through: the adapter that knows the
    tables turns them into errors.
    """
    try:
        yield
    except Exception as error:
        instead = translation(store, error)
        if instead is None:
            raise
        raise instead from error


def translation(store: str, error: BaseException) -> Exception | None:
    """The domain error that takes an error's place, None where it stays as it is."""
    if isinstance(error, AkiDBError | sa.exc.IntegrityError):
        return None
    if isinstance(error, sa.exc.DBAPIError):
        return _of_driver(store, error.orig)
    if isinstance(error, OSError):
        return Unavailable(f"{store}: {error.strerror}")
    if _is_of_driver(error):  # raised while connecting, or by a statement given to the driver itself
        return _of_driver(store, error)
    return None


def violated(error: sa.exc.IntegrityError) -> str:
    """The constraint that was violated: its name, or for a unique one of SQLite its columns.

    As in `tenants_slug_key` of PostgreSQL, `tenants.slug` of SQLite.
    """
    diagnosis = getattr(error.orig, "diag", None)
    if diagnosis is not None:
        return str(diagnosis.constraint_name)
    return str(error.orig).partition("constraint failed: ")[2]


def _is_of_driver(error: BaseException) -> bool:
    return hasattr(error, "sqlite_errorname") or hasattr(error, "sqlstate")


def _of_driver(store: str, error: object) -> Exception:
    state = getattr(error, "sqlstate", None)
    if state in _CONFLICTS:
        return TransactionConflict(f"{store}: too many changes of the same things at once ({state})")
    if state == _LOCK_TIMEOUT:
        return Overloaded(store)
    if state is not None or not hasattr(error, "sqlite_errorname"):
        first_line = str(error).partition("\n")[0]
        reason = _CLASSES.get(str(state)[:2])
        return Unavailable(f"{store}: {first_line if reason is None else f'{reason}: {first_line}'}")
    return Unavailable(f"{store}: {_reason(error)}")


def _name(error: object) -> str:
    return str(getattr(error, "sqlite_errorname", ""))


def _reason(error: object) -> str:
    name = _name(error)
    for prefix, reason in _PREFIXES:
        if name.startswith(prefix):
            return f"{reason} ({name})"
    return f"{error} ({name or type(error).__name__})"
