"""The page of states says what the program does."""

from pathlib import Path

from akidb.domain.lifecycle import ENTITY_OF, MOVES, PERMITTED

PAGE = Path(__file__).parents[2] / "docs" / "states.md"


def test_the_page_holds_the_tables_of_the_program() -> None:
    rows = [
        f"| {ENTITY_OF[kind]} | {state} | {', '.join(moves) or '-'}"
        f" | {', '.join(sorted(PERMITTED[kind][state])) or '-'} |"
        for kind, by_state in MOVES.items()
        for state, moves in by_state.items()
    ]
    written = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")][2:]
    assert written == rows
