"""Writes `src/akidb/api/examples.json`, the examples in the OpenAPI description, from the tests' samples."""

import json
import sys
import tempfile
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/table"), str(ROOT / "tests/conformance")]


def main() -> None:
    """Ask a server in an empty directory."""
    from congruence_deployments import server
    from examples import recorded
    from stage import local

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            server(folder / "data", folder) as url,
            local(url, folder) as operations,
            httpx.Client(base_url=url) as http,
        ):
            found = recorded(operations, http)
    lines = [
        f"{json.dumps(name)}:{json.dumps(example, ensure_ascii=False, separators=(',', ':'))}"
        for name, example in found.items()
    ]
    (ROOT / "src/akidb/api/examples.json").write_text("{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main()
