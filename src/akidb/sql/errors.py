"""The one place where a driver's error becomes a domain error."""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from akidb.domain.errors import Unavailable

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
    """Turn errors of the medium into Unavailable, which names the store and what is wrong.

    Violated constraints pass through: the adapter that knows the tables turns them into errors.
    """
    try:
        yield
    except sa.exc.IntegrityError:
        raise
    except sa.exc.DBAPIError as error:
        raise Unavailable(f"{store}: {_reason(error.orig)}") from error
    except OSError as error:
        raise Unavailable(f"{store}: {error.strerror}") from error
    except Exception as error:
        if _name(error):  # the driver's own, raised while connecting
            raise Unavailable(f"{store}: {_reason(error)}") from error
        raise


def constraint(error: sa.exc.IntegrityError) -> str:
    """The driver's words for the constraint that was violated, such as `tenants.slug`."""
    return str(error.orig).partition("constraint failed: ")[2]


def _name(error: object) -> str:
    return str(getattr(error, "sqlite_errorname", ""))


def _reason(error: object) -> str:
    name = _name(error)
    for prefix, reason in _PREFIXES:
        if name.startswith(prefix):
            return f"{reason} ({name})"
    return f"{error} ({name or type(error).__name__})"
