"""The page on errors names every code, with its exit and HTTP status."""

import re

from akidb.api import errors as api_errors
from akidb.api.errors import STATUS
from akidb.cli.errors import EXIT_STATUS
from akidb.domain import errors
from akidb.domain.errors import AkiDBError
from documentation import ROOT

PAGE = (ROOT / "docs/troubleshooting.md").read_text()


def kinds(module: object) -> dict[str, type[AkiDBError]]:
    """Return the error classes that a module defines, by code."""
    name = vars(module)["__name__"]
    found = [kind for kind in vars(module).values() if isinstance(kind, type) and kind.__module__ == name]
    return {kind.code: kind for kind in found if issubclass(kind, AkiDBError) and kind is not AkiDBError}


def test_every_code_has_section_with_its_statuses() -> None:
    said = {
        code: (int(exit), int(http))
        for code, exit, http in re.findall(
            r"^### `(\w+)`\nExit status (\d+), HTTP (\d+)\. ", PAGE, re.MULTILINE
        )
    }
    assert said == {code: (EXIT_STATUS[kind], STATUS[kind]) for code, kind in kinds(errors).items()}


def test_every_code_of_http_alone_has_row_with_its_status() -> None:
    said = {code: int(status) for code, status in re.findall(r"^\| `(\w+)` \| (\d+) \|", PAGE, re.MULTILINE)}
    assert said == {code: STATUS[kind] for code, kind in kinds(api_errors).items()}


def test_every_exit_status_is_explained() -> None:
    section = PAGE.partition("## Exit statuses\n")[2].partition("\n## ")[0]
    assert {int(n) for n in re.findall(r"(?:^|; )(\d+) ", section, re.MULTILINE)} == {
        0, 130, *EXIT_STATUS.values()
    }  # fmt: skip
