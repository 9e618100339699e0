"""Every filter of the cookbook gives the answer that is written beside it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from akidb import CollectionHandle

TEXT = (Path(__file__).parents[2] / "docs/filter-cookbook.md").read_text(encoding="utf-8")
LINES = [line for line in TEXT.splitlines() if line.startswith("|") and "`{" in line]


def row(line: str) -> tuple[str, str]:
    """Return the filter and the answer of a row."""
    cells = [cell.strip() for cell in line.strip("|").split(" | ")]
    (filter,) = (cell.strip("`") for cell in cells if cell.startswith("`{"))
    return filter, cells[-1]


ROWS = list(map(row, LINES))


@pytest.fixture(scope="module")
def tickets() -> Iterator[CollectionHandle]:
    code = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)[0]
    space: dict[str, Any] = {}
    exec(code.replace("all-minilm-l6-v2", "hash"), space)
    with space["db"]:
        yield space["tickets"]


@pytest.mark.parametrize(("filter", "answer"), ROWS)
def test_filter_gives_its_answer(tickets: CollectionHandle, filter: str, answer: str) -> None:
    expected = [] if answer == "none" else answer.split(", ")
    assert [document.id for document in tickets.scan(filter=json.loads(filter))] == expected
    assert tickets.count(filter=json.loads(filter)) == len(expected)


def test_cookbook_answers_many_questions() -> None:
    assert len(ROWS) >= 30
    assert sum(answer == "none" for _, answer in ROWS) < len(ROWS) / 4
