"""Errors of the command line: exit statuses, and messages as one line of text or as JSON.

All errors are handled here, including unexpected ones; a traceback is never printed.
"""

import errno
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import typer

from akidb.cli.unknown_words import unknown_word
from akidb.domain import errors
from akidb.domain.errors import AkiDBError, Internal, InvalidArgument, Unavailable
from akidb.domain.extras import missing_extra

EXIT_FAILED = 1
_PACKAGE = Path(__file__).parents[1]
"""The directory of the program's own code; other directories may have the same name."""

_AS_ELSEWHERE = {
    "must be a valid integer, unable to parse string as an integer": "must be a whole number, not str",
    "must be a valid number, unable to parse string as a number": "must be a finite number",
}
EXIT_STATUS: Mapping[type[AkiDBError], int] = {
    errors.InvalidArgument: 2,
    errors.NotFound: 3,
    errors.AlreadyExists: 4,
    errors.InvalidState: 4,
    errors.PreconditionFailed: 4,
    errors.IdempotencyMismatch: 4,
    errors.Unauthenticated: 5,
    errors.PermissionDenied: 5,
    errors.QuotaExceeded: 5,
    errors.RateLimited: 5,
    errors.Overloaded: EXIT_FAILED,
    errors.Unavailable: EXIT_FAILED,
    errors.StorageFull: EXIT_FAILED,
    errors.Damaged: EXIT_FAILED,
    errors.OperationTimeout: EXIT_FAILED,
    errors.Internal: EXIT_FAILED,
}
"""The exit status of each error class; a subclass has that of its base."""


def exit_status(error: AkiDBError) -> int:
    """Return the exit status for an error."""
    return next((EXIT_STATUS[kind] for kind in type(error).__mro__ if kind in EXIT_STATUS), EXIT_FAILED)


def as_domain_error(error: Exception) -> AkiDBError:
    """Convert any exception to a domain error."""
    if isinstance(error, AkiDBError):
        return error
    if isinstance(error, typer.TyperException):
        return _of_the_call(error)
    if isinstance(error, ImportError) and (missing := missing_extra(error)) is not None:
        return missing
    if isinstance(error, OSError):
        return Unavailable(_of_the_system(error))
    if isinstance(error, MemoryError):
        return Unavailable("there is not enough memory")
    return Internal(f"{type(error).__name__}: {error}{_place(error)}")


def problem(error: AkiDBError) -> dict[str, Any]:
    """Return the error as the JSON object of the HTTP API, without `status` and `request_id`."""
    return {
        "type": f"urn:akidb:error:{error.code}",
        "title": error.title,
        "detail": detail(error),
        "code": error.code,
        **{name: encodable(value) for name, value in error.fields.items()},
    }


def one_line(error: AkiDBError) -> str:
    """Return the error as one line of text: its code and message, with control characters escaped."""
    return f"error: {error.code}: {detail(error)}"


def detail(error: AkiDBError) -> str:
    """Return the message and the notes of an error, on one line."""
    return printable("; ".join([error.message, *getattr(error, "__notes__", ())]))


def printable(text: str) -> str:
    """Escape non-printable characters, so that stored text cannot control the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def unreadable(path: Path | str, error: OSError) -> NoReturn:
    """Raise InvalidArgument for a file that cannot be read."""
    raise InvalidArgument("file", f"cannot read {path}: {error.strerror or error}") from None


def encodable(value: Any) -> Any:
    """Escape lone surrogates, which a process argument may contain and JSON cannot."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def _of_the_call(error: typer.TyperException) -> InvalidArgument:
    """Convert a usage error, naming the option or argument that it is about, if any."""
    name = getattr(getattr(error, "param", None), "name", None)
    message = " ".join(error.format_message().split())
    if (hint := unknown_word(error)) is not None:
        return InvalidArgument("arguments", hint)
    if name is None:
        return InvalidArgument("arguments", message)
    if message.startswith("Missing "):
        return InvalidArgument(name, f"is missing{_usage(error)}")
    # The text before the colon comes from the library and its validator.
    reason = message.partition(": ")[2].removeprefix("Value error, ").removesuffix(".")
    reason = reason.replace("Input should be", "must be", 1)
    return InvalidArgument(name, _AS_ELSEWHERE.get(reason, reason))


def _usage(error: typer.TyperException) -> str:
    """Return how the command is called, without options."""
    context = getattr(error, "ctx", None)
    if context is None:
        return ""
    words = context.get_usage().replace("{", "").replace("}", "").split()[1:]
    return f"; usage: {' '.join(word for word in words if word != '[OPTIONS]')}"


def _of_the_system(error: OSError) -> str:
    where = f": {error.filename}" if error.filename else ""
    reason = "no space is left on the device" if error.errno == errno.ENOSPC else error.strerror or error
    return f"{reason}{where}"


def _place(error: Exception) -> str:
    """Return the AkiDB source line that raised: bug reports need it, as there is no traceback."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _PACKAGE in Path(f.filename).parents]
    return f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
