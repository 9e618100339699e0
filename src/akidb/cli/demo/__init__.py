"""`akidb demo`: two tenants, real text of this machine, and questions to it."""

import typer

from akidb.cli.session import Session, command


def add_to(app: typer.Typer) -> None:
    """Declare the command."""
    command(app, "demo", makes_store=True)(demo)


def demo(session: Session) -> None:
    """Index real text of this machine and ask it questions.

    Two tenants get the documentation of Python's standard library, a part each.
    """
    from akidb.cli.demo.story import tell

    tell(session)
