"""Every block of code in the README and in `docs` is run, in the order of its page, or checked.

A page is one session (`tests/documentation.py`). Blocks in the languages of `RUN` are run. Output shown in a
block `text` right after the code, or in a `console`, is compared; `...` stands for anything. Data and files
of other programs are checked (`tests/page_checks.py`). Any other language is a failure.
"""

import ast
import re
import subprocess
from pathlib import Path

import psycopg
import pytest

from documentation import JAVASCRIPT, ROOT, RUN, Block, PageSession, agrees, blocks_of
from page_checks import CHECKS
from postgres import Server

PAGES = ["README.md", *sorted(page.relative_to(ROOT).as_posix() for page in ROOT.glob("docs/*.md"))]
BLOCKS = {page: blocks_of(page) for page in PAGES}
NAMES = {block.name for blocks in BLOCKS.values() for block in blocks}

REAL_MODEL = {"README.md", "docs/concepts.md"}
"""Pages that are run with the real embedding model, as their results are about meaning."""

SLOW = {
    "docs/backup.md",
    "docs/cli.md",
    "docs/deployment.md",
    "docs/migration.md",
    "docs/operations.md",
    "docs/saas.md",
    "docs/troubleshooting.md",
    "docs/upgrading.md",
}
"""Pages of many commands, which other tests run too; `make test-slow` runs them."""

NOT_RUN = {
    ("docs/deployment.md", "docker volume create akidb"): (
        "needs a container engine; tests/e2e/test_deployment.py builds and runs the image where there is one"
    ),
    ("docs/deployment.md", "useradd --system --home-dir /var/lib/akidb --shell /usr/sbin/nologin akidb"): (
        "changes the machine; tests/e2e/test_deployment.py checks the units"
    ),
    (
        "docs/benchmarks.md",
        "akidb bench neighbours                                    # all, about 10 minutes",
    ): ("takes minutes; tests/e2e/test_bench.py runs benchmarks"),
    ("docs/benchmarks.md", "pip install 'akidb[peers]'"): (
        "takes minutes and a package index; tests/e2e/test_bench_search.py runs it"
    ),
    ("docs/cli.md", "akidb --install-completion"): "changes the shell; tests/cli/test_completion.py runs it",
    ("docs/observability.md", "pip install 'akidb[tracing]'"): (
        "needs a package index and a collector; tests/api/test_tracing.py traces a server"
    ),
}
"""Code that is only checked for its syntax, and the reason."""

LOG_LINE = (
    "2026-01-31T09:15:00.123456Z INFO akidb.api.access request request_id=... tenant_id=... method=GET"
    " route=/v1/tenants/{tenant} status=200 duration_ms=0.412 client=127.0.0.1"
)
SHOWN = {
    (
        "docs/upgrading.md",
        "error: unavailable: akidb has schema 0010, but this AkiDB supports up to 0009; use a newer AkiDB",
    ): "the error of a future version",
    ("docs/benchmarks.md", "x86_64, 2 cores, Linux, Python 3.11.7, SQLite 3.53.4"): "results",
    (
        "docs/benchmarks.md",
        "Intel(R) Xeon(R) Processor, 2 cores, Linux, Python 3.11.7, load 2.0 at the end",
    ): "results",
    ("docs/cli.md", "akidb [--url URL | --data DIR] [--wait SECONDS] [--json] COMMAND"): "the form of a call",
    ("docs/observability.md", LOG_LINE): "a line of the log",
}
"""Blocks `text` that are not the output of a block, and what they are."""

V1 = f"cp -r '{ROOT}/tests/data/v1-manifests' v1"
BEFORE = {
    ("docs/backup.md", 'db.tenants.get("aki-labs").export("aki-labs.akidb")'): (
        "import akidb, os\nos.remove('aki-labs.akidb'), os.remove('monday.akidb')\ndb = akidb.connect()\n"
    ),
    (
        "docs/cli.md",
        'printf %s "$PASSWORD" | akidb user create aki-labs bob@example.org --role admin --password-stdin',
    ): ("akidb tenant create 'Aki Labs'\nPASSWORD='correct horse'"),
    ("docs/cli.md", "$ akidb document import aki-labs/kb/notes notes.jsonl"): (
        "akidb database create aki-labs kb\n"
        "akidb collection create aki-labs/kb notes --dimension 384\n"
        """python -c "for n in [384] * 16 + [3]: print('{\\"vector\\":', [1] * n, '}')" > notes.jsonl"""
    ),
    ("docs/cli.md", "akidb document export aki-labs/kb/notes notes.parquet --vectors"): (
        "head -n 16 notes.jsonl | akidb document import aki-labs/kb/notes -"
    ),
    ("docs/migration.md", "akidb migrate v1-to-v2 --v1-data-dir ./v1 --dry-run"): V1,
    ("docs/operations.md", "akidb doctor --repair --dry-run       # what would be done"): (
        "akidb tenant create 'Aki Labs'"
    ),
    ("docs/python.md", 'with akidb.request(idempotency_key="import-7"):'): (
        'documents = [{"id": "b", "text": "Vectors are float32."}]'
    ),
    ("docs/python.md", 'async with akidb.aio.connect("./data") as db:'): "db.close()",
}
"""What a page takes for granted before a block, in the language of the block."""

SAID = {
    ("README.md", "import akidb"): ["Vectors live in SQL."],
    ("README.md", 'akidb --data ./data search aki-labs/kb/notes "where are vectors kept?"'): [
        "Vectors live in SQL."
    ],
    ("README.md", "akidb --data ./data serve --port 8080 &"): ["Cats sleep most of the day.", "aki-labs"],
    ("docs/python.md", 'aki.update(name="Aki Laboratories", qps_quota=500)'): ["tenant.suspend"],
    ("docs/python.md", 'async with akidb.aio.connect("./data") as db:'): ["kb 3"],
}
"""What a block prints among other things."""


def check_sql(block: Block, server: Server) -> None:
    """Run the statements on a server, and remove what they create."""
    with psycopg.connect(server.base, autocommit=True) as connection:
        try:
            for statement in filter(str.strip, block.code.split(";\n")):
                connection.execute(statement.encode())
        finally:
            connection.execute("DROP DATABASE IF EXISTS akidb")
            connection.execute("DROP ROLE IF EXISTS akidb")


def check_syntax(block: Block) -> None:
    """Check code that is not run."""
    if block.language == "python":
        compile(block.code, str(block), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    elif block.language in JAVASCRIPT:
        subprocess.run(
            ["node", "--check", "--input-type=module", "-"], input=block.code, check=True, text=True
        )
    else:
        code = block.code
        if block.language == "console":
            code = "".join(f"{line[2:]}\n" for line in code.splitlines() if line.startswith("$ "))
        subprocess.run(["bash", "-n"], input=code, check=True, text=True)


@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.slow] if page in SLOW else []) for page in PAGES if BLOCKS[page]],
)
def test_blocks_of_page_run(page: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    code = "".join(block.code for block in BLOCKS[page] if block.language in RUN)
    url = request.getfixturevalue("empty_postgres_url") if "postgresql://" in code else ""
    folder = tmp_path / "page"
    folder.mkdir()
    with PageSession(folder, real_model=page in REAL_MODEL, postgres_url=url) as session:
        _handle_all(BLOCKS[page], session, tmp_path, request)


def _handle_all(
    blocks: list[Block], session: PageSession, folder: Path, request: pytest.FixtureRequest
) -> None:
    output = ""
    for block in blocks:
        try:
            output = _handle(block, session, output, folder, request)
        except Exception as error:
            error.add_note(f"{block} ({block.language})\n{block.code}")
            raise


def _handle(
    block: Block, session: PageSession, output: str, folder: Path, request: pytest.FixtureRequest
) -> str:
    """Run or check a block, and return what it printed."""
    if block.name in NOT_RUN:
        check_syntax(block)
        return ""
    if block.language in RUN:
        output = session.run(block, BEFORE.get(block.name, ""))
        for said in SAID.get(block.name, []):
            assert said in output
        return output
    if block.language == "text":
        if block.name not in SHOWN:
            assert block.follows, "not the output of the block before, and not in SHOWN"
            assert agrees(block.code, output), output
    elif block.language == "sql":
        check_sql(block, request.getfixturevalue("postgres_server"))
    else:
        assert block.language in CHECKS, f"nothing checks the language {block.language!r}"
        CHECKS[block.language](block, folder)
    return output


@pytest.mark.parametrize("page", PAGES)
def test_first_request_retries_until_server_listens(page: str) -> None:
    for block in BLOCKS[page]:
        if re.search(r"^akidb .*serve .*&$", block.code, re.MULTILINE):
            first = re.search(r"^curl .*", block.code.partition(" serve ")[2], re.MULTILINE)
            assert first is None or " --retry 20 --retry-delay 1 --retry-connrefused " in first[0]


@pytest.mark.parametrize("table", [NOT_RUN, SHOWN, BEFORE, SAID], ids=["not run", "shown", "before", "said"])
def test_tables_name_blocks_that_exist(table: dict[tuple[str, str], object]) -> None:
    assert set(table) <= NAMES


def test_names_of_listed_blocks_are_unique() -> None:
    named = [block.name for blocks in BLOCKS.values() for block in blocks]
    for name in {*NOT_RUN, *BEFORE, *SAID}:
        assert named.count(name) == 1, name


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("```\necho a\n```", "nothing checks the language ''"),
        ("```cobol\nSTOP RUN.\n```", "nothing checks the language 'cobol'"),
        ("    echo a\n", "nothing checks the language 'indented'"),
        ("- item\n  ```sh\n  false\n  ```", "status: 1"),
        ("```sh\necho a\nno-such-command\n```", "status: 127"),
        ("```python\nraise KeyError(3)\n```", "KeyError: 3"),
        ("```console\n$ echo a\nb\n```", r"\$ echo a"),
        ("```console\n$ false\n```", "status: 1"),
        ("```sh\necho a\n```\n\n```text\nb\n```", "a"),
        ("```text\nb\n```", "not the output"),
        ("```json\n{'a': 1}\n```", "double quotes"),
        ("```toml\n[akidb]\nsynchronus = 1\n```", "synchronus"),
        ("```dockerfile\nRUNS pip\n```", "RUNS pip"),
        ("```promql\nakidb_nothing_total\n```", "akidb_nothing_total"),
        ("```sql\nSELEC 1;\n```", "SELEC"),
    ],
)
def test_wrong_block_is_reported(
    code: str, problem: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "page.md").write_text(f"# Page\n\n{code}\n")
    monkeypatch.setattr("documentation.ROOT", tmp_path)
    with PageSession(tmp_path) as session, pytest.raises(Exception, match=problem):
        _handle_all(blocks_of("page.md"), session, tmp_path, request)
