"""The first request on each page that starts a server retries until the server listens."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["README.md", "docs/http.md"])
def test_first_request_retries_until_server_listens(page: str) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    firsts = [
        re.search(r"^curl .*", block.partition(" serve ")[2], re.MULTILINE)
        for block in blocks
        if re.search(r"^akidb .*serve .*&$", block, re.MULTILINE)
    ]
    assert firsts
    for first in firsts:
        assert first is not None
        assert " --retry 20 --retry-delay 1 --retry-connrefused " in first[0]
