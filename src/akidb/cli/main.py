"""The way that every run of `akidb` ends: a status, and a line for what went wrong.

It loads the commands within `main`: Ctrl-C may come while they load.
"""

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from typing import IO

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give the status to exit with; whatever goes wrong has been printed."""
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _run(arguments: list[str]) -> int:
    import typer
    from typer.main import get_command

    from akidb.cli.tree import app

    _accept_any_character()
    try:
        status = get_command(app).main(arguments, prog_name="akidb", standalone_mode=False)
        sys.stdout.flush()
    except SystemExit as ended:  # the shell's completion, a reader that went away
        status = ended.code
    except typer.Abort:
        print("cancelled", file=sys.stderr)
        return EXIT_FAILED
    except BrokenPipeError:
        _discard(sys.stdout)
        return EXIT_FAILED
    except Exception as error:  # noqa: BLE001 - the end of every run: a line, never a traceback
        if _follows_an_interrupt(error):
            return EXIT_INTERRUPTED
        return _failed(error, json="--json" in arguments)
    return status if isinstance(status, int) else 0


def _follows_an_interrupt(error: BaseException | None) -> bool:
    """Whether this went wrong while an interrupted command was tidying up."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None


def _failed(ended_by: Exception, *, json: bool) -> int:
    from akidb.cli.errors import as_domain_error, exit_status
    from akidb.cli.output import Output

    error = as_domain_error(ended_by)
    with contextlib.suppress(OSError):
        Output(json=json).error(error)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        return exit_status(error)
    _discard(sys.stdout)
    return exit_status(error)


def _accept_any_character() -> None:
    """A name that the terminal's encoding lacks is written with escapes; it must not end a command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _discard(stream: IO[str]) -> None:
    """Let what is still to be written go nowhere, or the interpreter complains of it at its end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
