"""What goes wrong on the command line, said in one line: exit statuses, and problems as text or JSON.

Every error ends here, the unexpected ones too; nothing above prints a traceback.
"""

import errno
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import typer

from akidb.domain import errors
from akidb.domain.errors import AkiDBError, Internal, InvalidArgument, Unavailable

EXIT_FAILED = 1
_PACKAGE = Path(__file__).parents[1]
"""Where the program's own code lies; a directory may bear the same name and hold anything."""

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
    errors.Internal: EXIT_FAILED,
}
"""The one table from an error to the status that the process ends with; a subclass has its base's."""


def exit_status(error: AkiDBError) -> int:
    """The status that the process ends with after this error."""
    return next((EXIT_STATUS[kind] for kind in type(error).__mro__ if kind in EXIT_STATUS), EXIT_FAILED)


def as_domain_error(error: Exception) -> AkiDBError:
    """Make one of our errors of whatever ended a command."""
    if isinstance(error, AkiDBError):
        return error
    if isinstance(error, typer.TyperException):
        return _of_the_call(error)
    if isinstance(error, OSError):
        return Unavailable(_of_the_system(error))
    if isinstance(error, MemoryError):
        return Unavailable("there is not enough memory")
    return Internal(f"{type(error).__name__}: {error}{_place(error)}")


def problem(error: AkiDBError) -> dict[str, Any]:
    """The error as the JSON object that the HTTP API would send, without a status and a request."""
    return {
        "type": f"urn:akidb:error:{error.code}",
        "title": error.title,
        "detail": detail(error),
        "code": error.code,
        **{name: _encodable(value) for name, value in error.fields.items()},
    }


def one_line(error: AkiDBError) -> str:
    """The error for people: its code and what it says, without a character that moves the cursor."""
    return f"error: {error.code}: {detail(error)}"


def detail(error: AkiDBError) -> str:
    """What the error says and what was noted of it, on one line."""
    return printable("; ".join([error.message, *getattr(error, "__notes__", ())]))


def printable(text: str) -> str:
    """Escape what is no printable character, so that a stored text cannot steer the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def unreadable(path: Path | str, error: OSError) -> NoReturn:
    """Raise InvalidArgument for a file that was named and cannot be read."""
    raise InvalidArgument("file", f"cannot read {path}: {error.strerror or error}") from None


def _encodable(value: Any) -> Any:
    """Keep what JSON can hold; an argument of the process may hold lone surrogates."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def _of_the_call(error: typer.TyperException) -> InvalidArgument:
    """Name the option or argument that a fault of the call is about, if it is about one."""
    name = getattr(getattr(error, "param", None), "name", None)
    message = " ".join(error.format_message().split())
    if name is None:
        return InvalidArgument("arguments", message)
    if message.startswith("Missing "):
        return InvalidArgument(name, "is missing")
    # The words before are the library's and its validator's.
    reason = message.partition(": ")[2].removeprefix("Value error, ").removesuffix(".")
    return InvalidArgument(name, reason.replace("Input should be", "must be", 1))


def _of_the_system(error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return "no space is left on the device"
    where = f": {error.filename}" if error.filename else ""
    return f"{error.strerror or error}{where}"


def _place(error: Exception) -> str:
    """The line of AkiDB that a defect came from: a report needs it, and there is no traceback."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _PACKAGE in Path(f.filename).parents]
    return f" ({Path(frames[-1].filename).name}:{frames[-1].lineno})" if frames else ""
