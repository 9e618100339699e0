"""The tables of the report."""

from collections.abc import Sequence

import msgspec

Cell = str | float | int | None


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """One table; a row has a cell for each column."""

    name: str
    """The word that `--only` takes."""
    title: str
    columns: tuple[str, ...]
    rows: list[list[Cell]]
    note: str = ""


def text(table: Table) -> str:
    """Return the table with aligned columns; numbers are aligned to the right."""
    cells = [[_cell(cell) for cell in row] for row in table.rows]
    numeric = [
        any(isinstance(row[at], int | float) for row in table.rows) for at in range(len(table.columns))
    ]
    widths = [max([len(column), *(len(row[at]) for row in cells)]) for at, column in enumerate(table.columns)]
    lines = [_line(row, widths, numeric) for row in [list(table.columns), *cells]]
    return "\n".join([table.title, *lines, *([table.note] if table.note else [])])


def _line(cells: Sequence[str], widths: Sequence[int], numeric: Sequence[bool]) -> str:
    placed = zip(cells, widths, numeric, strict=True)
    return "  ".join(
        cell.rjust(width) if right else cell.ljust(width) for cell, width, right in placed
    ).rstrip()


def _cell(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, str):
        return cell
    if isinstance(cell, int):
        return f"{cell:,}"
    return f"{cell:,.0f}" if abs(cell) >= 100 else f"{cell:,.1f}" if abs(cell) >= 10 else f"{cell:,.3f}"
