"""`akidb document import`: the whole file is validated before anything is written."""

import io
import json
import sys
import threading
from pathlib import Path

import pytest

from akidb.cli import importing
from akidb.client.patience import patiently
from akidb.domain.documents import DocumentInput
from akidb.domain.errors import Overloaded, QuotaExceeded, RateLimited

from .conftest import Run

GOOD = '{"id": "a", "text": "one", "metadata": {"n": 1}}\n'


@pytest.mark.parametrize(
    ("line", "place", "words"),
    [
        ("{", "documents[2]", ""),
        ("nonsense", "documents[2]", ""),
        ("[]", "documents[2]", ""),
        ('"a"', "documents[2]", ""),
        ('{"id": "x", "text": "t", "txet": "u"}', "documents[2].txet", "unknown field"),
        ('{"id": "x", "text": "t", "id": "y"}', "documents[2].id", "duplicate key"),
        ('{"id": "x", "text": 7}', "documents[2].text", ""),
        ('{"id": "", "text": "t"}', "documents[2].id", ""),
        ('{"id": "a", "text": "t"}', "documents[2].id", "line 1"),
        ('{"id": "x"}', "documents[2]", ""),
        ('{"id": "x", "vector": [1, 2]}', "documents[2].vector", ""),
        ('{"id": "x", "vector": [NaN]}', "documents[2].vector", ""),
        ('{"id": "x", "vector": ' + str([0.0] * 64) + "}", "documents[2].vector", ""),
        ('{"id": "x", "vector": ' + str([1e300] * 64) + "}", "documents[2].vector", ""),
        ('{"id": "x", "text": "t", "metadata": []}', "documents[2].metadata", ""),
        ('{"id": "x", "text": "t", "metadata": {"a": {"b": "\\u0000"}}}', "documents[2].metadata.a.b", ""),
        ('{"id": "x", "text": "\\u0000"}', "documents[2].text", ""),
        ('{"id": "' + "x" * 600 + '", "text": "t"}', "documents[2].id", ""),
        ('{"id": "x", "text": "' + "t" * (2**20 + 1) + '"}', "documents[2].text", ""),
    ],
)
def test_import_error_names_line_and_writes_nothing(
    akidb: Run, notes: str, tmp_path: Path, line: str, place: str, words: str
) -> None:
    file = tmp_path / "faulty.jsonl"
    file.write_text(f'{GOOD}\n{{"id": "b", "text": "two"}}\n{line}\n{{"id": "d", "text": "four"}}\n')
    result = akidb("document", "import", notes, file)
    assert (result.status, result.out, result.err.count("\n")) == (2, "", 1)
    assert result.err.startswith("error: invalid_argument: line 4: ")
    problem = akidb("document", "import", notes, file, "--json").problem
    assert (problem["field"].rstrip("[0]"), problem["line"]) == (place.rstrip("[0]"), 4)
    assert words in problem["detail"]
    assert akidb("document", "count", notes, "--json").json == {"count": 0}


def test_empty_lines_are_skipped_and_final_newline_is_optional(
    akidb: Run, notes: str, tmp_path: Path
) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text(f'\n{GOOD}  \r\n{{"text": "without an id"}}')
    done = akidb("document", "import", notes, file, "--json").json
    assert done["imported"] == 2
    assert done["documents_per_second"] > 0


@pytest.mark.parametrize("content", ["", "\n \n", "\ufeff"])
def test_empty_file_is_rejected_unless_allowed(akidb: Run, notes: str, tmp_path: Path, content: str) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text(content, encoding="utf-8")
    refused = akidb("document", "import", notes, file)
    assert (refused.status, refused.out) == (2, "")
    assert refused.err.startswith("error: invalid_argument: file: contains no documents")
    again = akidb("document", "import", notes, file, "--allow-empty")
    assert again.out.startswith("imported 0 documents in ")


def test_byte_order_mark_is_skipped(akidb: Run, notes: str, tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text(GOOD, encoding="utf-8-sig")
    assert akidb("document", "import", notes, file, "--json").json["imported"] == 1
    assert akidb("document", "get", notes, "a").status == 0


def test_texts_that_the_model_truncates_are_reported(akidb: Run, notes: str, tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    texts = [{"id": f"long-{n:02}", "text": "word " * 300} for n in range(12)]
    file.write_text("\n".join(map(json.dumps, [{"id": "short", "text": "word"}, *texts])))
    told = akidb("document", "import", notes, file)
    assert told.out.startswith("imported 13 documents")
    assert "12 texts are longer than the embedding model accepts" in told.err
    assert "long-00, long-01" in told.err
    assert told.err.endswith("long-09, ...)\n")
    done = akidb("document", "import", notes, file, "--json")
    assert (done.json["truncated"], done.err) == (12, "")
    assert done.json["truncated_ids"] == [text["id"] for text in texts]
    assert "only its beginning" in akidb("search", notes, "word " * 300).err
    assert "only its beginning" not in akidb("search", notes, "word").err


def test_documents_without_vector_are_reported(akidb: Run, points: str, tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    vector = json.dumps({"id": "v", "vector": [1.0] * 16})
    file.write_text(f'{GOOD}{{"id": "m", "metadata": {{"n": 1}}}}\n{vector}\n')
    told = akidb("document", "import", points, file)
    assert told.out.startswith("imported 3 documents")
    assert told.err == "2 documents are stored without a vector: no vector search finds them\n"
    done = akidb("document", "import", points, file, "--json")
    assert (done.json["without_vector"], done.err) == (2, "")
    exported = akidb("document", "export", points, "--vectors").out
    file.write_text(exported)
    assert akidb("document", "import", points, file, "--json").json["without_vector"] == 2
    assert akidb("document", "export", points, "--vectors").out == exported
    file.write_text(vector)
    assert akidb("document", "import", points, file).err == ""


def test_unreadable_files(akidb: Run, notes: str, tmp_path: Path) -> None:
    missing = akidb("document", "import", notes, tmp_path / "none.jsonl")
    assert missing.status == 2
    assert missing.err.endswith("none.jsonl: No such file or directory\n")
    assert akidb("document", "import", notes, tmp_path).err.endswith("Is a directory\n")
    assert akidb("document", "import", "aki-labs/kb/none", tmp_path / "none.jsonl").status == 3


def test_non_text_file_is_rejected(akidb: Run, notes: str, tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_bytes(b'{"id": "a", "text": "\xff\xfe"}\n')
    assert akidb("document", "import", notes, file).status == 2
    file.write_bytes(bytes(range(256)))
    assert akidb("document", "import", notes, file).status == 2


def test_overlong_line_is_rejected(
    akidb: Run, notes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "MAX_LINE_BYTES", 1000)
    file = tmp_path / "x.jsonl"
    file.write_text(json.dumps({"id": "a", "text": "x" * 2000}))
    assert "longer than" in akidb("document", "import", notes, file).err


def test_pipe_is_read_once(akidb: Run, notes: str, tmp_path: Path) -> None:
    import os

    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text(GOOD * 1 + '{"id": "b", "text": "two"}\n'))
    writer.start()
    assert akidb("document", "import", notes, pipe, "--json").json["imported"] == 2
    writer.join()


def test_standard_input(akidb: Run, notes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text(f"not read\n{GOOD}")
    with io.TextIOWrapper(file.open("rb")) as stream:
        stream.buffer.read(len("not read\n"))
        monkeypatch.setattr(sys, "stdin", stream)
        assert akidb("document", "import", notes, "-", "--json").json["imported"] == 1


def test_exceeded_quota_reports_documents_written(akidb: Run, notes: str, tmp_path: Path) -> None:
    assert akidb("collection", "update", notes, "--max-document-count", "300").status == 0
    file = tmp_path / "x.jsonl"
    file.write_text("".join(f'{{"id": "{i}", "text": "text {i}"}}\n' for i in range(600)))
    result = akidb("document", "import", notes, file)
    assert result.status == 5
    assert result.err.startswith("error: quota_exceeded: ")
    assert result.err.endswith(f"; {importing.BATCH_TEXTS} documents had been written\n")
    assert akidb("document", "count", notes, "--json").json == {"count": importing.BATCH_TEXTS}


def _lines(*documents: tuple[int, DocumentInput]) -> list[importing.Line]:
    return [importing.Line(i + 1, i, size, document) for i, (size, document) in enumerate(documents)]


def test_batches_are_bounded_by_texts_documents_and_bytes() -> None:
    text, vector = DocumentInput(text="x"), DocumentInput(vector=[1.0])
    mixed = _lines(*[(10, text), (10, vector)] * 300)
    assert [len(batch) for batch in importing.batches(iter(mixed), embeds=True)] == [
        2 * importing.BATCH_TEXTS,
        88,
    ]
    many = _lines(*[(10, vector)] * (importing.BATCH_DOCUMENTS + 1))
    assert [len(batch) for batch in importing.batches(iter(many), embeds=True)] == [
        importing.BATCH_DOCUMENTS,
        1,
    ]
    large = _lines(*[(importing.BATCH_BYTES * 2 // 3, vector)] * 3)
    assert [len(batch) for batch in importing.batches(iter(large), embeds=True)] == [1, 1, 1]
    assert list(importing.batches(iter([]), embeds=True)) == []
    assert [len(batch) for batch in importing.batches(iter(mixed), embeds=False)] == [600]
    bare = _lines(*[(10, DocumentInput(metadata={"n": 1}))] * 600)
    assert [len(batch) for batch in importing.batches(iter(bare), embeds=True)] == [600]


def test_lines_stops_after_checked_count() -> None:
    stream = io.BytesIO(b'{"text": "a"}\n\n{"text": "b"}\n{"text": "c"}\n')
    assert [line.number for line in importing.lines(stream, 2)] == [1, 3]


def test_rate_limit_and_overload_are_retried() -> None:
    answers = iter([RateLimited(1, 0.0), Overloaded("requests", 0.001), None])

    def call() -> str:
        error = next(answers)
        if error is not None:
            raise error
        return "done"

    assert patiently(call) == "done"
    with pytest.raises(QuotaExceeded):
        patiently(lambda: (_ for _ in ()).throw(QuotaExceeded("storage_quota_bytes", 1, 1, 1)))
