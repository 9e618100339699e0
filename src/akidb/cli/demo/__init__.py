"""`akidb demo`: two tenants with real text from this machine, and searches over it."""

import typer

from akidb.cli.session import Session, command


def add_to(app: typer.Typer) -> None:
    """Declare the command."""
    command(app, "demo", makes_store=True)(demo)


def demo(session: Session) -> None:
    """Index real text from this machine and search it.

    Each of two tenants gets a part of the documentation of Python's standard library.
    """
    from akidb.cli.demo.story import tell

    tell(session)
