"""`akidb serve`: runs the HTTP server."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from akidb.cli.session import Session, command
from akidb.domain.errors import AkiDBError

if TYPE_CHECKING:
    from akidb.api.server import Listening


def add_to(app: typer.Typer) -> None:
    """Declare the command."""
    command(app, "serve", makes_store=True)(serve)


def serve(
    session: Session,
    *,
    host: Annotated[str, typer.Option(help="The address to listen on; loopback only.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 selects a free port.")] = 8080,
    no_auth: Annotated[
        bool,
        typer.Option("--no-auth", help="Disable authentication. No effect: there is none yet."),
    ] = False,
) -> None:
    """Serve a data directory or a PostgreSQL database over HTTP.

    A directory is also served on a Unix socket, for local commands. SIGTERM and Ctrl-C shut down gracefully.
    """
    from akidb.api.logs import log_failure
    from akidb.api.server import serve as serve_directory
    from akidb.cli.errors import exit_status

    del no_auth

    logs_json = session.settings.log_format == "json"

    def announce(listening: "Listening") -> None:
        if session.out.json:
            path = None if listening.socket is None else str(listening.socket)
            session.out.value({"url": listening.url, "socket": path})
            sys.stdout.flush()
        if logs_json:
            return
        also = "" if listening.socket is None else f" and {listening.socket}"
        session.out.note(f"serving {session.shown_place} at {listening.url}{also}")

    try:
        serve_directory(session.stores, session.settings, host, port, on_listening=announce)
    except AkiDBError as error:
        if not logs_json:
            raise
        log_failure(error)
        raise typer.Exit(exit_status(error)) from None
