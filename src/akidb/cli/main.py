"""The entry point of `akidb`: returns the exit status and prints errors as one line.

The commands are imported inside `main`, so that Ctrl-C is handled during the import.
"""

import contextlib
import io
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import cache
from typing import IO

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130
_STREAMS = (("stdin", os.O_WRONLY), ("stdout", os.O_RDONLY), ("stderr", os.O_WRONLY))
"""How a closed one of the standard streams is replaced, by number: the first two by what cannot be used."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status. Errors are printed."""
    _fill_closed_streams()
    try:
        return _run(list(sys.argv[1:] if argv is None else argv))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _fill_closed_streams() -> None:
    """Put the null device in place of closed standard streams; using standard input or output is an error.

    Otherwise the next file that is opened would become standard output, and be written to by libraries.
    """
    for number, (name, flags) in enumerate(_STREAMS):
        if getattr(sys, name) is not None:
            continue
        descriptor = os.open(os.devnull, flags)
        if descriptor != number:  # it was opened since
            os.dup2(descriptor, number)
            os.close(descriptor)
        mode = "r" if number == 0 else "w"
        setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115


def _run(arguments: list[str]) -> int:
    _accept_any_character()
    try:
        import typer
    except ImportError as error:
        return _without_commands(error)
    try:
        status = _commands()(arguments, prog_name="akidb", standalone_mode=False)
        _flush()
    except SystemExit as ended:  # shell completion, or a closed pipe
        status = ended.code
    except typer.Abort:
        print("cancelled", file=sys.stderr)
        return EXIT_FAILED
    except BrokenPipeError:
        _discard(sys.stdout)
        return EXIT_FAILED
    except Exception as error:  # noqa: BLE001 - top level: print one line, never a traceback
        if _follows_an_interrupt(error):
            return EXIT_INTERRUPTED
        return _failed(_of_output(error), json="--json" in arguments)
    return status if isinstance(status, int) else 0


def _of_output(error: Exception) -> Exception:
    """Return an error that names standard output for one that was raised while the help was printed."""
    if not isinstance(error, OSError):
        return error
    *_, (innermost, _line) = traceback.walk_tb(error.__traceback__)
    if not innermost.f_globals["__name__"].startswith("typer."):
        return error
    from akidb.domain.errors import Unavailable

    return Unavailable(f"standard output cannot be written: {error.strerror}")


def _without_commands(error: ImportError) -> int:
    from akidb.domain.extras import missing_extra

    print(f"error: unavailable: {missing_extra(error) or error}", file=sys.stderr)
    return EXIT_FAILED


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError:
        from akidb.cli.output import flush_output

        flush_output()  # it fails again, and names the stream


@cache
def _commands() -> Callable[..., object]:
    """What runs any of the commands, put together once for all runs of this process."""
    from typer.main import get_command

    from akidb.cli.tree import app

    return get_command(app).main


def _follows_an_interrupt(error: BaseException | None) -> bool:
    """Return whether the error was raised during the cleanup after an interrupt."""
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
    """Escape characters that the terminal's encoding lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _discard(stream: IO[str]) -> None:
    """Redirect a broken stream to the null device: flushing it at exit would print an error."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
