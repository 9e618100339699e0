"""`akidb settings`: the settings in force, and where each came from."""

from typing import TYPE_CHECKING

import typer

from akidb.cli.errors import encodable
from akidb.cli.session import Session, command, masked

if TYPE_CHECKING:
    from akidb.settings import Settings


def add_to(app: typer.Typer) -> None:
    """Declare the command."""
    command(app, "settings")(settings)


def settings(session: Session) -> None:
    """Show the settings in force here and where each came from. A running server has its own."""
    from akidb.settings import ignored_variables

    in_force, sources = session.loaded
    values = {name: _shown(name, in_force) for name in sources}
    rows = [(name, _plain(values[name]), str(source)) for name, source in sources.items()]
    as_json = [
        {"name": name, "value": values[name], "source": source.kind, "source_name": source.name}
        for name, source in sources.items()
    ]
    ignored = ignored_variables()
    session.out.rows({"settings": as_json, "ignored": list(ignored)}, ("setting", "value", "from"), rows)
    for name, hint in ignored.items():
        session.out.note(f"{name} is not a setting and is ignored{hint}")


def _shown(name: str, in_force: "Settings") -> object:
    """Return a value as it is in force, with any password masked."""
    if name == "models_dir":
        return None if in_force.models_path is None else encodable(str(in_force.models_path))
    value = getattr(in_force, name)
    return encodable(masked(value)) if isinstance(value, str) else value


def _plain(value: object) -> object:
    """Return a number as it is written in a file: without separators."""
    return f"{value:.15g}" if isinstance(value, int | float) else value
