"""`akidb bench search`: the data, the recall and the tables; the timings do not matter here."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from akidb.bench import main
from akidb.bench.search import data, wordnet
from akidb.bench.search.command import TABLES, Options, measure, summary
from akidb.bench.search.crew import Failed, InProcess, Process
from akidb.bench.search.data import Condition, DataSet, Question
from akidb.bench.search.peers import installed
from akidb.bench.search.recall import recall, truth
from akidb.bench.search.tables import Table, text
from akidb.bench.search.worker import Asking
from akidb.settings import load

IN_PROCESS = tuple(name for name in TABLES if name != "http")
SYNSETS = {
    "noun": '00001740 05 n 02 grey_whale 0 gray_whale 0 001 @ 00001930 n 0000 | a whale; "it is grey"  ',
    "verb": "00001740 29 v 0a " + "breathe 0 " * 10 + "001 $ 00005041 v 0000 01 + 02 00 | draw air in  ",
    "adj": "00001740 00 a 01 able 0 000 | having the power  ",
    "adv": "00001740 02 r 01 ably 0 000 | with skill  ",
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return data.seeded(tmp_path_factory.mktemp("data"), 3000, 16, questions=40)


def ask(small: DataSet, question: Question, deleted: Sequence[str] = ()) -> list[list[int]]:
    """Return the right answers in float64, by sorting all scores."""
    columns = small.columns()
    answers = []
    for place, number in enumerate(question.numbers):
        mask = ~np.isin(columns["category"], deleted)
        if question.conditions:
            mask &= question.conditions[question.of[place]].mask(columns)
        scores = small.vectors.astype(np.float64) @ small.questions[number].astype(np.float64)
        scores[~mask] = -np.inf
        order = np.argsort(-scores, kind="stable")[:10]
        answers.append([int(row) for row in order if mask[row]])
    return answers


def test_seeded_set_is_the_same_each_time_and_its_filters_keep_what_they_say(
    small: DataSet, tmp_path: Path
) -> None:
    again = data.seeded(tmp_path, 3000, 16, questions=40)
    np.testing.assert_array_equal(small.vectors, again.vectors)
    np.testing.assert_array_equal(small.questions, again.questions)
    np.testing.assert_allclose(np.linalg.norm(small.vectors, axis=1), 1, rtol=1e-5)
    assert small.documents(0, 3000).metadata == again.documents(0, 3000).metadata
    kept = [float(truth(small, question).kept.mean()) for question in small.filtered()]
    assert kept[:4] == pytest.approx([0.5, 0.1, 0.01, 0.001], rel=0.6)
    assert kept[4] == 0.3
    assert kept[6] == pytest.approx(0.1, abs=0.03)
    about = small.about_deleted()
    assert {small.asked[number] for number in about.numbers} == set(small.described.deleted)


def test_recall_is_that_of_sorting_all_scores(small: DataSet) -> None:
    for question in [small.everything(), *small.filtered()]:
        right = truth(small, question)
        answers = ask(small, question)
        assert recall(small, question, right, answers) == 1
        halved = [answer[: len(answer) // 2] for answer in answers]
        if all(len(answer) == 10 for answer in answers):
            assert recall(small, question, right, halved) == 0.5
        if question.conditions:  # documents that the filter excludes do not count, however near
            columns = small.columns()
            forbidden = [
                np.flatnonzero(~question.conditions[of].mask(columns))[:10].tolist() for of in question.of
            ]
            assert recall(small, question, right, forbidden) == 0


def test_recall_counts_a_repeated_document_once_and_an_equal_one_as_right(tmp_path: Path) -> None:
    made = data.seeded(tmp_path, 200, 8, questions=3)
    doubled = np.array(made.vectors)
    doubled[100:] = doubled[:100]
    np.save(tmp_path / "documents.npy", doubled)
    small = DataSet(tmp_path)
    question = small.everything()
    right = truth(small, question)
    answers = ask(small, question)
    assert recall(small, question, right, [[(row + 100) % 200 for row in answer] for answer in answers]) == 1
    assert recall(small, question, right, [[answer[0]] * 10 for answer in answers]) == pytest.approx(0.1)


def test_glosses_are_read_with_words_and_category(tmp_path: Path) -> None:
    for kind, line in SYNSETS.items():
        (tmp_path / f"data.{kind}").write_text(f"  1 This is the licence\n{line}\n")
    assert [(gloss.words, gloss.category, gloss.text) for gloss in wordnet.read(tmp_path)] == [
        ("grey whale, gray whale", "noun.animal", 'a whale; "it is grey"'),
        (", ".join(["breathe"] * 10), "verb.body", "draw air in"),
        ("able", "adj.all", "having the power"),
        ("ably", "adv.all", "with skill"),
    ]


def test_questions_are_not_among_the_documents(tmp_path: Path) -> None:
    glosses = [wordnet.Gloss(f"w{n}", "noun.act", f"text {n}") for n in range(1200)]
    vectors = np.arange(2400, dtype=np.float32).reshape(1200, 2)
    made = data.wordnet(tmp_path, glosses, vectors, 150)
    assert (made.count, len(made.questions)) == (150, data.QUESTIONS)
    rows = {tuple(row) for row in np.concatenate([made.vectors, made.questions])}
    assert len(rows) == 150 + data.QUESTIONS
    for gloss, vector in zip(made.documents(0, 150).texts, made.vectors, strict=True):
        assert gloss == f"text {int(vector[0]) // 2}"


def test_glosses_are_embedded_once_and_an_interrupted_run_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    glosses = [wordnet.Gloss(f"w{n}", "noun.act", f"the text of number {n}") for n in range(50)]
    settings = load(default_model="hash")
    monkeypatch.setattr(wordnet, "CHUNK", 8)
    monkeypatch.setattr(wordnet, "read", lambda: glosses)
    whole = wordnet.cached(tmp_path / "whole", settings)
    assert whole.vectors.shape[0] == len(glosses)
    cut = tmp_path / "cut" / whole.folder.name
    cut.mkdir(parents=True)
    (cut / "glosses.jsonl").write_bytes((whole.folder / "glosses.jsonl").read_bytes())
    row = whole.vectors.shape[1] * 4
    (cut / "vectors.part").write_bytes(np.array(whole.vectors).tobytes()[: 19 * row + 3])
    monkeypatch.delattr(wordnet, "read")  # both are cached by now
    np.testing.assert_array_equal(wordnet.cached(tmp_path / "cut", settings).vectors, whole.vectors)
    assert sorted(path.name for path in cut.iterdir()) == ["glosses.jsonl", "vectors.npy"]


def test_missing_texts_name_their_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read = wordnet.read
    monkeypatch.setattr(wordnet, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(wordnet, "read", lambda: read(tmp_path))
    assert main(["search"]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "apt-get install wordnet-base" in output.err
    assert "--data seeded" in output.err


@pytest.mark.slow
def test_every_table_has_akidb_beside_a_scan_and_names_what_is_not_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = installed() | {"zvec": None}
    monkeypatch.setattr("akidb.bench.search.command.installed", lambda: here)
    engines = ("akidb", "numpy, scan", "faiss, raw", "zvec")
    made: list[Table] = []
    report = measure(Options(only=IN_PROCESS, engines=engines, quick=True), hire=InProcess, show=made.append)
    assert report.tables == made
    tables = {table.name: table for table in made}
    assert set(tables) == {*IN_PROCESS, "batches", "curve"}
    assert report.failures == []
    for table in report.tables:
        place = table.columns.index("engine")
        assert {row[place] for row in table.rows} <= {name for name in engines if here[name]}
        assert "akidb" in {row[place] for row in table.rows}, table.name
        assert all(len(row) == len(table.columns) for row in table.rows)
    rows = tables["search"].rows + tables["filters"].rows
    assert {row[3] for row in rows if row[1] in {"akidb", "numpy, scan"}} == {1.0}
    assert text(tables["search"]).startswith("search: 2,000 x 32, top 10 with text and metadata\nwork ")
    missing = [name for name in engines if here[name] is None]
    assert f"Not installed (pip install 'akidb[peers]'): {', '.join(missing)}" in summary(report)


def test_a_process_per_engine_and_its_failure_is_reported(tmp_path: Path, small: DataSet) -> None:
    worker = Process("numpy, scan", small.folder, tmp_path)
    try:
        folder = tmp_path / "store"
        folder.mkdir()
        loaded = worker.call("load", folder=str(folder), count=3000, batch=1000)
        assert len(loaded.batches) == 3
        question = small.filtered()[1]
        found = worker.call("answers", asking=Asking.made(question), setting=0, seconds=60.0)
        assert recall(small, question, truth(small, question), found.numbers) == 1
        worker.call("delete", conditions=[Condition("tenth", "=", 0)])
        with pytest.raises(Failed, match="FileNotFoundError"):
            worker.call("open", folder=str(tmp_path / "nothing"), setting=0, searches=0)
        assert worker.call("time", asking=Asking.made(small.everything()), setting=0, threads=2, seconds=0.0)
    finally:
        worker.stop()


def test_json_and_wrong_options(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--only", "nonsense"]) == 2
    assert "invalid choice: 'nonsense'" in capsys.readouterr().err
    assert main(["search", "--documents", "0"]) == 2
    assert "must be at least 1" in capsys.readouterr().err
    arguments = ["--quick", "--documents", "500", "--only", "load", "--engine", "numpy, scan", "--json"]
    assert main(["search", *arguments]) == 0
    report = json.loads(capsys.readouterr().out)
    assert {table["name"] for table in report["tables"]} == {"load", "batches"}
    assert set(report["engines"]) == {"numpy, scan"}


def test_numbers_of_a_table_are_aligned() -> None:
    table = Table(
        name="t", title="A table", columns=("a", "b"), rows=[["x", 1.5], ["long", 12345], ["", None]]
    )
    assert text(table) == "A table\na          b\nx      1.500\nlong  12,345\n"


@pytest.mark.slow
def test_http_is_measured_with_a_server(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--quick", "--only", "http", "--engine", "akidb", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["failures"] == []
    (row,) = report["tables"][0]["rows"]
    assert row[0] == "akidb"
    assert all(figure > 0 for figure in (row[1], row[2], row[4], row[5], row[6]))
