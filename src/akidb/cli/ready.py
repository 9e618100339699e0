"""`akidb ready`: a health check of a running server, for containers and supervisors."""

from typing import Annotated

import typer

from akidb.cli.session import Session, command
from akidb.domain.errors import AkiDBError, InvalidArgument, Unavailable


def add_to(app: typer.Typer) -> None:
    """Declare the command."""
    command(app, "ready")(ready)


def ready(
    session: Session,
    *,
    timeout: Annotated[float, typer.Option(metavar="SECONDS", help="How long to wait for the server.")] = 5.0,
) -> None:
    """Check that the server of a URL or a directory works: its stores and its default model.

    The exit status is 0 if it does, else 1. A directory is not opened: its server is asked.
    """
    from akidb.client.http import HttpOperations

    if not 0 < timeout < float("inf"):
        raise InvalidArgument("timeout", "must be a finite positive number")
    url = _server(session)
    server = HttpOperations(url, timeout_seconds=timeout)
    try:
        server.ready()
    except AkiDBError as error:  # of whatever listens there
        raise Unavailable(f"{url} is not ready: {error.message}") from None
    finally:
        server.close()
    session.out.done({"status": "ok"}, f"{url} is ready")


def _server(session: Session) -> str:
    """Return the URL of the server."""
    if session.is_remote:
        return str(session.place)
    from akidb.deployment.note import published_socket

    socket = published_socket(session.directory)
    if socket is None:
        raise Unavailable(f"no server has {session.directory} open")
    return f"unix://{socket.absolute()}"
