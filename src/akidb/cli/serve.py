"""`akidb serve`: hands over to the HTTP server."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from akidb.cli.session import Session, command

if TYPE_CHECKING:
    from akidb.api.server import Listening


def add_to(app: typer.Typer) -> None:
    """Declare the command."""
    command(app, "serve", makes_store=True)(serve)


def serve(
    session: Session,
    *,
    host: Annotated[str, typer.Option(help="Where to listen; on loopback only.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes one that is free.")] = 8080,
    no_auth: Annotated[
        bool,
        typer.Option("--no-auth", help="Ask nobody who they are; nobody is asked yet without it either."),
    ] = False,
) -> None:
    """Serve the data directory over HTTP.

    Also over a Unix socket, for commands on this machine. Ends in order at SIGTERM or Ctrl-C.
    """
    from akidb.api.server import serve as serve_directory

    del no_auth

    def announce(listening: "Listening") -> None:
        if session.out.json:
            session.out.value({"url": listening.url, "socket": str(listening.socket)})
            sys.stdout.flush()
        session.out.note(f"serving {session.directory} at {listening.url} and {listening.socket}")

    serve_directory(session.directory, session.settings, host, port, on_listening=announce)
