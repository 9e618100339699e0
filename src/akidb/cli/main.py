"""The `akidb` command: its tree, and the way that every run of it ends."""

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from typing import IO, Annotated

import typer
from typer.main import get_command

from akidb.cli import (
    audit,
    bench,
    collections,
    databases,
    demo,
    doctor,
    documents,
    migrate,
    models,
    search,
    serve,
    tenants,
)
from akidb.cli.errors import EXIT_FAILED, EXIT_INTERRUPTED, as_domain_error, exit_status
from akidb.cli.output import Output
from akidb.cli.session import Data, Json, Shared, Url, require_command
from akidb.domain.errors import AkiDBError

# Help in colour would double the time that `--help` takes.
app = typer.Typer(name="akidb", rich_markup_mode=None)

GROUPS = (tenants, databases, collections, documents, models, audit, migrate)
COMMANDS = (demo, serve, search, doctor, bench)


@app.callback(invoke_without_command=True)
def options(
    context: typer.Context,
    *,
    url: Url = None,
    data: Data = None,
    json: Json = False,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    """AkiDB, a multi-tenant vector database with built-in text embeddings.

    The data is in the directory akidb-data, unless --data, --url, AKIDB_URL or akidb.toml says otherwise.
    """
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"akidb {installed('akidb')}")
        raise typer.Exit
    context.obj = Shared(url, data, json)
    require_command(context)


for _module in COMMANDS:
    _module.add_to(app)
for _group in GROUPS:
    app.add_typer(_group.app)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and give the status to exit with; whatever goes wrong has been printed."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    _accept_any_character()
    try:
        status = get_command(app).main(arguments, prog_name="akidb", standalone_mode=False)
        sys.stdout.flush()
    except SystemExit as ended:  # the shell's completion, a reader that went away
        status = ended.code
    except typer.Abort:
        print("cancelled", file=sys.stderr)
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        _discard(sys.stdout)
        return EXIT_FAILED
    except Exception as error:  # noqa: BLE001 - the end of every run: a line, never a traceback
        return _failed(as_domain_error(error), json="--json" in arguments)
    return status if isinstance(status, int) else 0


def _failed(error: AkiDBError, *, json: bool) -> int:
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
