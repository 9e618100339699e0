"""Hints for commands and options that do not exist."""

import re
from collections.abc import Iterator
from typing import Any

import typer

from akidb.domain.hints import did_you_mean

_COMMAND = re.compile(r"No such command '(.*)'\.")
_OTHER_WORDS = {
    word: meant
    for meant, words in {
        "list": "ls scan all",
        "get": "show describe cat",
        "delete": "rm remove del drop",
        "purge": "destroy",
        "create": "add new make",
        "update": "edit set patch rename",
        "import": "insert upsert put load",
        "export": "dump",
        "search": "query find",
        "usage": "stats quota",
        "serve": "start server run",
        "settings": "config",
        "doctor": "check repair",
        "restore": "undelete",
        "count": "size",
    }.items()
    for word in words.split()
}
"""What other programs call a command."""

_MAX_PLACES = 4


def unknown_word(error: typer.TyperException) -> str | None:
    """Return a message with a hint for an unknown command or option; None for any other error."""
    context = getattr(error, "ctx", None)
    if context is None:
        return None
    option = getattr(error, "option_name", None)
    if option is not None and hasattr(error, "possibilities"):
        known = [name for each in context.command.get_params(context) for name in each.opts]
        hint = did_you_mean(option, [name for name in known if name.startswith("--")])
        return f"unknown option {option}{hint or f'; `{context.command_path} -h` lists the options'}"
    found = _COMMAND.match(getattr(error, "message", ""))
    return None if found is None else _of_a_command(context, found[1])


def _of_a_command(context: Any, word: str) -> str:
    known = context.command.commands
    hint = did_you_mean(word, known)
    if not hint:
        meant = _OTHER_WORDS.get(word.lower(), word.lower())
        root = context.find_root()
        places = [
            " ".join((root.info_name, *path))
            for path in _paths(root.command)
            if path[-1] in {word.lower(), meant}
        ]
        if meant in known:
            hint = f"; did you mean {meant}?"
        elif 0 < len(places) <= _MAX_PLACES:
            hint = f"; did you mean {' or '.join(f'`{place}`' for place in places)}?"
    return f"unknown command {word}{hint or f'; `{context.command_path} -h` lists the commands'}"


def _paths(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, child in getattr(command, "commands", {}).items():
        yield (*path, name)
        yield from _paths(child, (*path, name))
