"""Runs the code of the guides, and compares what it prints with the block of `text` that follows."""

import doctest
import re
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
GUIDES = ("docs/concepts.md", "docs/saas.md", "docs/filter-cookbook.md")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", GUIDES)
def test_guide_prints_what_it_shows(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    space: dict[str, Any] = {}
    printed: str | None = None
    for language, code in BLOCK.findall((ROOT / page).read_text(encoding="utf-8")):
        if language == "python":
            output = StringIO()
            with redirect_stdout(output):
                exec(code, space)
            printed = output.getvalue()
        else:
            assert language == "text"
            assert printed is not None, code
            assert doctest.OutputChecker().check_output(code, printed, doctest.ELLIPSIS), printed
            printed = None
    space["db"].close()
