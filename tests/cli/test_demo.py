"""`akidb demo`, with hash embeddings: same steps, less relevant results."""

import shlex
import sys
from collections import Counter

import pytest

from akidb.cli.demo import corpus
from akidb.cli.demo.parts import AKI, BUNKA, PARTS, Part
from akidb.cli.demo.questions import try_isolation
from akidb.cli.session import this_program
from akidb.client.connect import bind
from akidb.domain.errors import Internal
from akidb.settings import load

from .conftest import Run


@pytest.fixture(autouse=True)
def _quick_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AKIDB_DEFAULT_MODEL", "hash")


def test_demo_indexes_searches_and_resumes_after_interruption(akidb: Run) -> None:
    first = akidb("demo", "--json").json
    assert first["written"] == first["texts"] > 3_000
    assert first["texts_per_second"] > 0
    assert {answer["tenant"] for answer in first["answers"]} == {"aki-labs", "bunka-books"}
    assert all(answer["matches"] for answer in first["answers"])
    isolation = first["isolation"]
    for match in isolation["answer"]["matches"]:
        assert match["metadata"]["module"].partition(".")[0] in AKI.modules
    foreign, refusal = isolation["foreign_database"], isolation["refusal"]
    unknown = foreign[:-1] + ("0" if foreign[-1] != "0" else "1")
    assert refusal == f"database '{foreign}' does not exist"
    assert isolation["unknown_refusal"] == refusal.replace(foreign, unknown)

    second = akidb("demo", "--json").json
    assert (second["written"], second["texts"]) == (0, first["texts"])
    assert second["texts_per_second"] is None

    path = "aki-labs/python/docs"
    assert akidb("document", "delete", path, "json.dumps", "gzip.compress").status == 0
    third = akidb("demo")
    assert "indexing 2 texts of Python's documentation with hash\n" in third.err
    assert (
        akidb("document", "count", path, "--json").json["count"]
        + akidb("document", "count", "bunka-books/python/docs", "--json").json["count"]
        == (first["texts"])
    )

    shown = akidb("demo", "--data", "akidb-data")
    assert f"found {first['texts']:,} texts indexed by an earlier run" in shown.err
    assert "  how do I compress a file?  (" in shown.out
    assert f"    {refusal}\n" in shown.out
    program = shlex.join(this_program())
    assert shown.out.endswith(f"    {program} --data akidb-data serve\n")
    match = akidb("document", "get", path, "json.dumps", "--json").json["documents"][0]
    assert match["text"].startswith("json.dumps: Serialize")
    assert (match["metadata"]["module"], match["metadata"]["kind"]) == ("json", "function")
    assert match["metadata"]["line"] > 1


def test_demo_leaves_existing_tenant_unchanged(akidb: Run) -> None:
    assert akidb("tenant", "create", "Aki Labs").status == 0
    result = akidb("demo")
    assert (result.status, result.out) == (2, "")
    assert "use another directory with --data" in result.err
    assert akidb("database", "list", "aki-labs", "--json").json["items"] == []


def test_result_from_another_tenant_raises_internal_error(
    akidb: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = [text for text in corpus.read(("csv", "json")) if text.kind != "method"]
    monkeypatch.setattr(corpus, "read", lambda modules: small)
    assert akidb("demo").status == 0
    narrow = Part("Aki Labs", "aki-labs", "csv", ("csv",), ())
    operations = bind("akidb-data", load())
    try:
        with pytest.raises(Internal, match="belongs to another tenant"):
            try_isolation(operations, narrow, BUNKA, "json")
    finally:
        operations.close()


@pytest.fixture(scope="module")
def texts() -> dict[str, corpus.Text]:
    return {text.name: text for part in PARTS for text in corpus.read(part.modules)}


def test_corpus_is_real_text_of_useful_length(texts: dict[str, corpus.Text]) -> None:
    assert 3_000 < len(texts) < 5_000
    for text in texts.values():
        assert text.text.startswith(f"{text.name}: ")
        body = text.text.removeprefix(f"{text.name}: ")
        assert corpus.MIN_CHARACTERS <= len(body) <= corpus.MAX_CHARACTERS + len(" ...")
        assert "  " not in body
    assert Counter(text.kind for text in texts.values()).keys() == {"module", "class", "function", "method"}


def test_corpus_contains_only_public_names(texts: dict[str, corpus.Text]) -> None:
    for text in texts.values():
        assert not any(step.startswith("_") for step in text.name.split(".")), text
        assert text.module.partition(".")[0] in AKI.modules + BUNKA.modules


def test_corpus_covers_python_and_c_modules(texts: dict[str, corpus.Text]) -> None:
    assert texts["gzip"].kind == "module"
    assert texts["json.decoder.JSONDecoder.decode"].kind == "method"
    assert texts["str.upper"] == corpus.Text(
        "str.upper",
        "builtins",
        "method",
        None,
        "str.upper: Return a copy of the string converted to uppercase.",
    )
    assert texts["math.remainder"].line is None
    assert texts["decimal.Decimal.rotate"].module == "decimal"


def test_reading_documentation_does_not_import_modules() -> None:
    import subprocess

    program = (
        "import sys; before = set(sys.modules)\n"
        "from akidb.cli.demo import corpus\nbefore |= set(sys.modules)\n"
        "corpus.read(('smtplib', 'turtle', 'this', 'antigravity', 'math'))\n"
        "print(*set(sys.modules) - before)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert set(ended.stdout.split()) <= {"math"}


def test_parts_share_no_module() -> None:
    assert not set(AKI.modules) & set(BUNKA.modules)
