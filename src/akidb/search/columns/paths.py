"""Which values each field of a document reaches, as `akidb.domain.filters.matching` reads them."""

from collections.abc import Mapping
from typing import Any


def below(metadata: Mapping[str, Any], most: int) -> dict[str, list[Any]] | None:
    """Return the values of each field with a path of several keys; None if there are more than `most`.

    A top-level key equal to a whole name goes before the path; keys with dots are not reached by paths. The
    elements of a list count as values.
    """
    found: dict[str, list[Any]] = {}
    pending: list[tuple[str, dict[str, Any]]] = []
    for key, value in metadata.items():
        if type(value) in (dict, list) and "." not in key:
            pending += _objects(key, value)
    for prefix, members in pending:  # it grows meanwhile
        for key, value in members.items():
            if "." in key:
                continue
            name = f"{prefix}.{key}"
            most -= 1
            if type(value) is dict or type(value) is list:
                most -= len(value) if type(value) is list else 0
                pending += _objects(name, value)
            if most < 0:
                return None
            if name not in metadata:
                values = found.get(name)
                if values is None:
                    found[name] = [value]
                else:
                    values.append(value)
    return found


def _objects(name: str, value: dict[str, Any] | list[Any]) -> list[tuple[str, dict[str, Any]]]:
    if type(value) is dict:
        return [(name, value)]
    return [(name, item) for item in value if type(item) is dict]
