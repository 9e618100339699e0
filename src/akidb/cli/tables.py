"""The layout of tables: what is left out or cut where a terminal is too narrow."""

from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size

GAP = 2
CUT_TO = 12
"""Characters that are left of free text at least."""

_FREE_TEXT = frozenset(
    {"name", "text", "metadata", "vector", "description", "reason", "detail", "problem", "repair", "value"}
)
"""Columns that may be cut, unless they come first: a first column names what its row is about."""
_LEFT_OUT_FIRST = "request_id"


class Layout(NamedTuple):
    """Which columns of a table are shown, and how wide."""

    shown: tuple[int, ...]
    widths: dict[int, int]

    def line(self, cells: Sequence[str]) -> list[str]:
        """Return the cells that are shown, cut and padded to their columns; the last one is not padded."""
        found = []
        for place in self.shown:
            cell, width = cells[place], self.widths[place]
            if cell_len(cell) > width:
                cell = f"{set_cell_size(cell, width - 1).rstrip()}…"
            found.append(cell if place == self.shown[-1] else set_cell_size(cell, width + GAP))
        return found


def layout(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int | None) -> Layout:
    """Fit a table into `width` characters; None for any width.

    IDs, slugs, numbers and states are shown whole or not at all. Columns are left out from the right, IDs
    last; the first column always stays.
    """
    full = {
        place: max(cell_len(cell) for cell in (column, *(row[place] for row in rows)))
        for place, column in enumerate(columns)
    }
    shown = list(full)
    if width is None:
        return Layout(tuple(shown), full)
    least = {
        place: min(size, CUT_TO) if place and columns[place] in _FREE_TEXT else size
        for place, size in full.items()
    }
    while len(shown) > 1 and _spare(shown, least, width) < 0:
        shown.remove(_least_important(columns, shown[1:]))
    widths = {place: least[place] for place in shown}
    spare = max(0, _spare(shown, least, width))
    cut = [place for place in shown if least[place] < full[place]]
    for at, place in enumerate(cut):
        more = min(full[place] - least[place], spare // (len(cut) - at))
        widths[place] += more
        spare -= more
    return Layout(tuple(shown), widths)


def _spare(shown: Sequence[int], widths: dict[int, int], width: int) -> int:
    return width - sum(widths[place] for place in shown) - GAP * (len(shown) - 1)


def _least_important(columns: Sequence[str], places: Sequence[int]) -> int:
    def weight(place: int) -> tuple[bool, bool, int]:
        name = columns[place]
        return (name != _LEFT_OUT_FIRST, name == "id" or name.endswith("_id"), -place)

    return min(places, key=weight)
