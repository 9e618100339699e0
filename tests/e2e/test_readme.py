"""Links, targets of `make` and files that the documents name exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\]\((?!http)([^)#]+)\)")


def test_all_mentioned_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"`make ([a-z-]+)`", (ROOT / document).read_text()))
        assert named <= targets, document


DOCUMENTS = sorted(p.relative_to(ROOT).as_posix() for p in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_and_mentioned_pages_exist(document: str) -> None:
    text = (ROOT / document).read_text()
    for target in LINK.findall(text):
        assert ((ROOT / document).parent / target).exists(), target
    for target in re.findall(r"`((?:docs|tests|src)/[\w./-]+)`", text):
        assert (ROOT / target).exists(), target


def test_every_decision_is_numbered_and_has_status() -> None:
    decisions = sorted((ROOT / "docs" / "adr").glob("*.md"))
    for number, decision in enumerate(decisions, start=1):
        text = decision.read_text()
        assert decision.name.startswith(f"{number:04d}-")
        assert text.startswith(f"# {number}. ")
        assert "\nStatus: " in text
