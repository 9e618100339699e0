"""The single place where driver errors are translated into domain errors."""

import errno
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import sqlalchemy as sa

from akidb.domain.errors import AkiDBError, Overloaded, StorageFull, Unavailable
from akidb.observe.interrupts import is_of_handler
from akidb.ports.conflicts import MachineFailure, TransactionConflict

_CONFLICTS = {"40001", "40P01"}
"""SQLSTATEs of PostgreSQL for a serialization failure and a deadlock."""
_LOCK_TIMEOUT = "55P03"
_DISK_FULL = "53100"
_OF_DATA = {"22", "58", "XX"}
"""SQLSTATE classes that say that stored data cannot be read: others may be read."""
_OF_READING = {
    "SQLITE_IOERR_READ",
    "SQLITE_IOERR_SHORT_READ",
    "SQLITE_IOERR_CORRUPTFS",
    "SQLITE_IOERR_DATA",
}
_KINDS: Mapping[int | None, type[Unavailable]] = {
    errno.ENOSPC: StorageFull,
    errno.EDQUOT: StorageFull,
    errno.EMFILE: MachineFailure,
    errno.ENFILE: MachineFailure,
    errno.ENOMEM: MachineFailure,
}
_LOST = {"25P03", "57P01", "57P02", "57P05"}
"""SQLSTATEs with which the server ends a session that may be opened again."""
_STATES = {
    "25006": "the database is read-only",
    "42501": "the role lacks a privilege",
    "53300": "the server has too many connections",
    "25P03": "the server ended the session after idle_in_transaction_session_timeout",
    "25P04": "the server ended the session after transaction_timeout",
    "57014": "the server cancelled the statement",
    "57P01": "the server ended the session",
    "57P02": "the server ended the session after a crash",
    "57P04": "the database was dropped",
    "57P05": "the server ended the session after idle_session_timeout",
}
_REJECTED = "the server rejected the user or the password"
_CLASSES = {
    # SQLSTATE classes of PostgreSQL, for states that are not above.
    "08": "the connection was lost",
    "28": _REJECTED,
    "3D": "the database does not exist",
    "42": "the server rejected the statement",
    "53": "the server is out of disk space, memory or connections",
    "57": "the server is starting or shutting down",
    "58": "the server's disk cannot be read or written",
    "XX": "the database is damaged; restore it from a backup",
}

_REFUSALS = (
    # Words of the server's message, as psycopg knows no SQLSTATE of a failed connection attempt.
    ("is not permitted to log in", "the role may not log in: it lacks LOGIN"),
    ("permission denied for database", "the role lacks the privilege CONNECT on the database"),
    ("is not currently accepting connections", "the database accepts no connections (ALLOW_CONNECTIONS)"),
    ("too many ", "the server, the database or the role has too many connections"),
    ("remaining connection slots", "the server has too many connections"),
    ("no more connections allowed", "the pooler has too many connections"),
    ("no pg_hba.conf entry", "the server's pg_hba.conf does not admit this connection"),
    ("authentication failed", _REJECTED),
    ("no password supplied", f"{_REJECTED}: no password was given"),
    ("starting up", _CLASSES["57"]),
    ("shutting down", _CLASSES["57"]),
    ("not yet accepting connections", _CLASSES["57"]),
)
_MISSING = re.compile(r'failed: \w+:  (database|role) ".*" does not exist')
_ANSWERED = re.compile(r"failed: \w+:  ")
"""How libpq quotes an error of the server, in any language."""

_PREFIXES = (
    # SQLite result codes by name; a full disk is FULL, or IOERR if the log cannot grow.
    ("SQLITE_FULL", "there is no space left on the disk"),
    ("SQLITE_IOERR", "the disk cannot be read or written; it may be full"),
    ("SQLITE_READONLY", "the file or its directory is read-only"),
    ("SQLITE_CANTOPEN", "the file cannot be opened"),
    ("SQLITE_CORRUPT", "the file is damaged; restore it from a backup"),
    ("SQLITE_NOTADB", "the file is damaged: it is not a SQLite database; restore it from a backup"),
    ("SQLITE_PERM", "access to the file is denied"),
    ("SQLITE_BUSY", "the file is locked by another program"),
    ("SQLITE_NOMEM", "out of memory"),
)


@contextmanager
def translated(store: str, place: str | None = None) -> Iterator[None]:
    """Translate driver and I/O errors into domain errors that name the store and the cause.

    `place` is a name of the store that only callers on this machine may be told.

    Raises Unavailable for most, StorageFull for a full disk, MachineFailure for what other stores would
    have as well, TransactionConflict for a transaction aborted in favour of another, Overloaded for a lock
    timeout. IntegrityError passes through: the adapter that knows
    the tables translates it.
    """
    try:
        yield
    except Exception as error:
        instead = translation(store, error, place)
        if instead is None:
            raise
        raise instead from error


def translation(store: str, error: BaseException, place: str | None = None) -> Exception | None:
    """Return the domain error for an error, or None if it is not translated."""
    if isinstance(error, AkiDBError | sa.exc.IntegrityError) or is_of_handler(error):
        return None
    if isinstance(error, sa.exc.DBAPIError):
        if error.orig is None or not is_undecodable(error.orig):
            return _of_driver(store, error.orig, place or store)
        error = error.orig
    if isinstance(error, OSError):
        return _KINDS.get(error.errno, Unavailable)(f"{store}: {error.strerror}")
    if is_undecodable(error):
        return Unavailable(
            f"{store}: a row cannot be read: its text is not UTF-8; run `akidb doctor` to find it"
        )
    if _is_of_driver(error):  # raised while connecting, or by a statement run on the driver directly
        return _of_driver(store, error, place or store)
    return None


def is_lost(error: BaseException, *, closed: bool) -> bool:
    """Return whether an error means that the connection was lost; `closed`: the driver says so."""
    orig = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    if not (isinstance(error, sa.exc.SQLAlchemyError) or _is_of_driver(error)):
        return False
    state = str(getattr(orig, "sqlstate", None))
    return closed or state in _LOST or state.startswith("08")


def is_damage(error: BaseException) -> bool:
    """Return whether a translated error says that a SQLite file is damaged."""
    cause = error.__cause__
    name = _name(cause.orig if isinstance(cause, sa.exc.DBAPIError) else cause)
    return name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def is_undecodable(error: BaseException) -> bool:
    """Return whether the driver of SQLite could not decode text, which its message quotes."""
    return type(error).__name__ == "OperationalError" and str(error).startswith("Could not decode to UTF-8")


def violated(error: sa.exc.IntegrityError) -> str:
    """Return the violated constraint: its name, or the columns of a unique constraint on SQLite.

    For example `tenants_slug_key` on PostgreSQL, `tenants.slug` on SQLite.
    """
    diagnosis = getattr(error.orig, "diag", None)
    if diagnosis is not None:
        return str(diagnosis.constraint_name)
    return str(error.orig).partition("constraint failed: ")[2]


def _is_of_driver(error: BaseException) -> bool:
    return hasattr(error, "sqlite_errorname") or hasattr(error, "sqlstate")


def _of_driver(store: str, error: object, place: str) -> Exception:
    state = getattr(error, "sqlstate", None)
    if state in _CONFLICTS:
        return TransactionConflict(f"{store}: too many concurrent changes of the same rows ({state})")
    if state == _LOCK_TIMEOUT:
        return Overloaded(store)
    if state is not None or not hasattr(error, "sqlite_errorname"):
        first_line = str(error).partition("\n")[0]
        reason = _STATES.get(str(state)) or _CLASSES.get(str(state)[:2])
        if state is None:
            reason = _refusal(str(error))
        return _kind_of_state(state)(
            f"{place}: {first_line if reason is None else f'{reason}: {first_line}'}",
            public=f"{store}: {reason or _unknown(state)}",
        )
    name = _name(error)
    kind = _kind_of_name(name)
    for prefix, reason in _PREFIXES:
        if name.startswith(prefix):
            return kind(f"{store}: {reason} ({name})")
    name = name or type(error).__name__
    return kind(f"{store}: {error} ({name})", public=f"{store}: an error of the database ({name})")


def _kind_of_state(state: str | None) -> type[Unavailable]:
    if state == _DISK_FULL:
        return StorageFull
    return Unavailable if str(state)[:2] in _OF_DATA else MachineFailure


def _kind_of_name(name: str) -> type[Unavailable]:
    if name == "SQLITE_FULL":
        return StorageFull
    is_of_machine = (
        name == "SQLITE_NOMEM"
        or (name.startswith("SQLITE_IOERR") and name not in _OF_READING)
        or (name.startswith("SQLITE_CANTOPEN") and _cannot_open_anything())
    )
    return MachineFailure if is_of_machine else Unavailable


def _cannot_open_anything() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return True
    return False


def _refusal(message: str) -> str | None:
    """Return why a server refused a connection; None if it cannot be reached."""
    if not _ANSWERED.search(message):
        return None
    for words, reason in _REFUSALS:
        if words in message:
            return reason
    missing = _MISSING.search(message)
    if missing is not None:
        return f"the {missing[1]} does not exist"
    return "the server refused the connection"


def _name(error: object) -> str:
    return str(getattr(error, "sqlite_errorname", ""))


def _unknown(state: object) -> str:
    """Describe an error of PostgreSQL without its text, which may name hosts, users and tables."""
    return "the server cannot be reached" if state is None else f"an error of the server ({state})"
