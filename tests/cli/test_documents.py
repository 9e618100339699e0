"""`akidb document` and `akidb search`."""

import json
from pathlib import Path

import pytest

from .conftest import Run

DOCUMENTS = [
    {"id": "a", "text": "vectors live in SQL", "metadata": {"year": 2026, "tags": ["db"]}},
    {"id": "b", "text": "a bakery in Kyoto", "metadata": {"year": 1999}},
    {"id": "c", "text": "trains leave on time", "metadata": {}},
]


@pytest.fixture
def filled(akidb: Run, notes: str, tmp_path: Path) -> str:
    file = tmp_path / "notes.jsonl"
    file.write_text("".join(f"{json.dumps(document)}\n" for document in DOCUMENTS))
    assert akidb("document", "import", notes, file).status == 0
    return notes


def test_get_returns_documents_in_requested_order(akidb: Run, filled: str) -> None:
    assert akidb("document", "get", filled, "c", "a", "--json").json == {
        "documents": [DOCUMENTS[2], DOCUMENTS[0]]
    }
    table = akidb("document", "get", filled, "b")
    assert table.out.splitlines()[0].split() == ["id", "text", "metadata"]
    assert "a bakery in Kyoto" in table.out
    vector = akidb("document", "get", filled, "a", "--vectors", "--json").json["documents"][0]["vector"]
    assert len(vector) == 64
    assert "[" in akidb("document", "get", filled, "b", "--vectors").out


def test_get_with_missing_document_shows_others_and_fails(akidb: Run, filled: str) -> None:
    result = akidb("document", "get", filled, "a", "x", "y", "--json")
    assert result.status == 3
    assert json.loads(result.out) == {"documents": [DOCUMENTS[0]]}
    assert json.loads(result.err)["id"] == "x"
    alone = akidb("document", "get", filled, "x")
    assert (alone.status, alone.out) == (3, "")
    assert alone.err == "error: not_found: document 'x' does not exist\n"
    assert akidb("document", "get", filled).status == 2


def test_count(akidb: Run, filled: str) -> None:
    assert akidb("document", "count", filled).out == "3\n"
    found = akidb("document", "count", filled, "--filter", '{"year": {"$gte": 2000}}', "--json")
    assert found.json == {"count": 1}


def test_facets(akidb: Run, filled: str) -> None:
    found = akidb("document", "facets", filled, "year", "--json").json
    assert sum(facet["count"] for facet in found["values"]) <= 3
    assert found["distinct"] == len(found["values"]) > 1
    table = akidb("document", "facets", filled, "year", "--limit", "1")
    assert table.out.split()[:2] == ["value", "count"]
    assert table.err == f"{found['distinct'] - 1} more distinct values\n"
    assert akidb("document", "facets", filled, "$id", "--json").problem["field"] == "field"


def test_invalid_filter_is_rejected_with_its_path(akidb: Run, filled: str) -> None:
    wrong = '{"$and": [{"a": 1}, {"year": {"$gte": []}}]}'
    assert (
        akidb("document", "count", filled, "--filter", wrong, "--json")
        .problem["field"]
        .startswith("filter.$and[1].year")
    )
    assert akidb("document", "count", filled, "--filter", "{").status == 2


def test_delete_by_id(akidb: Run, filled: str) -> None:
    assert akidb("document", "delete", filled, "a", "x", "--json").json == {"deleted": 1}
    assert akidb("document", "delete", filled, "b").out == "deleted 1 document\n"
    assert akidb("document", "count", filled, "--json").json == {"count": 1}
    assert akidb("document", "delete", filled).status == 2
    assert akidb("document", "delete", filled, "c", "--filter", '{"year": 1}', "--yes").status == 2


def test_delete_by_filter_requires_yes_without_terminal(akidb: Run, filled: str) -> None:
    chosen = ["--filter", '{"year": {"$exists": true}}']
    assert akidb("document", "delete", filled, *chosen).status == 2
    assert akidb("document", "count", filled, "--json").json == {"count": 3}
    assert akidb("document", "delete", filled, *chosen, "--yes", "--json").json == {"deleted": 2}
    assert akidb("document", "delete", filled, "--filter", "{}", "--yes").status == 2
    assert akidb("document", "count", filled, "--json").json == {"count": 1}


def test_clear_requires_yes_without_terminal(akidb: Run, filled: str) -> None:
    assert akidb("document", "clear", filled).status == 2
    assert akidb("document", "count", filled, "--json").json == {"count": 3}
    assert akidb("document", "clear", filled, "--yes", "--json").json == {"deleted": 3}
    assert akidb("document", "clear", filled).out == "deleted 0 documents\n"
    assert akidb("document", "delete", filled, "--filter", '{"year": 1}').out == "deleted 0 documents\n"


def test_update_merges_metadata(akidb: Run, filled: str) -> None:
    update = ["document", "update", filled]
    assert akidb(*update, "a", "x", "--metadata", '{"year": 7, "tags": null}').out == "updated 1 document\n"
    chosen = ["--filter", '{"year": {"$gte": 7}}', "--metadata", '{"seen": true}']
    assert akidb(*update, *chosen, "--json").json == {"updated": 2}
    found = akidb("document", "get", filled, "a", "b", "--json").json["documents"]
    assert [each["metadata"] for each in found] == [{"year": 7, "seen": True}, {"year": 1999, "seen": True}]
    assert akidb(*update, "a").status == 2
    assert akidb(*update, *chosen, "a").status == 2
    assert akidb(*update, "--metadata", "{}").status == 2
    assert akidb(*update, "--filter", "{}", "--metadata", "{}", "--json").problem["field"] == "filter"
    assert akidb(*update, "a", "--metadata", "[]", "--json").problem["field"] == "metadata"


def test_exported_json_lines_can_be_imported(akidb: Run, filled: str, tmp_path: Path) -> None:
    plain = akidb("document", "export", filled)
    assert [json.loads(line) for line in plain.out.splitlines()] == DOCUMENTS
    assert akidb("--json", "document", "export", filled).out == plain.out
    some = akidb("document", "export", filled, "--filter", '{"$id": "b"}')
    assert [json.loads(line) for line in some.out.splitlines()] == [DOCUMENTS[1]]
    whole = akidb("document", "export", filled, "--vectors")
    file = tmp_path / "export.jsonl"
    file.write_text(whole.out)
    copy = "aki-labs/kb/copy"
    assert akidb("collection", "create", "aki-labs/kb", "copy", "--embedding-model", "hash").status == 0
    assert akidb("document", "import", copy, file).status == 0
    assert akidb("document", "export", copy, "--vectors").out == whole.out


def test_import_modes(akidb: Run, filled: str, tmp_path: Path) -> None:
    file = tmp_path / "more.jsonl"
    file.write_text('{"id": "a", "text": "new"}\n{"id": "d", "text": "new"}\n')
    refused = akidb("document", "import", filled, file, "--mode", "insert", "--json")
    assert (refused.status, refused.problem["ids"]) == (4, ["a"])
    skipped = akidb("document", "import", filled, file, "--mode", "skip")
    assert skipped.status == 0
    assert "skipped 1 document already in the collection" in skipped.err
    assert akidb("document", "get", filled, "a", "--json").json["documents"] == [DOCUMENTS[0]]
    file.write_text('{"id": "a", "metadata": {"n": 1}}\n{"id": "z", "text": "new"}\n')
    updated = akidb("document", "import", filled, file, "--mode", "update", "--json").json
    assert (updated["imported"], updated["skipped"]) == (1, 1)
    [found] = akidb("document", "get", filled, "a", "--json").json["documents"]
    assert found == {"id": "a", "text": "vectors live in SQL", "metadata": {"n": 1}}
    file.write_text('{"id": "a", "text": "x"}\n{"text": "no id"}\n')
    wrong = akidb("document", "import", filled, file, "--mode", "update", "--json").problem
    assert (wrong["field"], wrong["line"]) == ("documents[1].id", 2)
    assert akidb("document", "import", filled, file, "--mode", "replace").status == 2


def test_export_prints_chosen_parts(akidb: Run, filled: str) -> None:
    lines = akidb("document", "export", filled, "--include", "metadata.year").out.splitlines()
    assert [json.loads(line) for line in lines] == [
        {"id": "a", "metadata": {"year": 2026}},
        {"id": "b", "metadata": {"year": 1999}},
        {"id": "c", "metadata": {}},
    ]
    both = akidb("document", "export", filled, "--include", "text", "--vectors").out.splitlines()
    assert all(json.loads(line).keys() == {"id", "text", "vector"} for line in both)
    assert akidb("document", "export", filled, "--include", "").out.splitlines()[0] == '{"id":"a"}'
    assert akidb("document", "export", filled, "--include", "score", "--json").problem["field"] == "include"
    table = akidb("document", "list", filled, "--include", "metadata.year").out.splitlines()
    assert table[0].split() == ["id", "metadata"]
    assert "2026" in table[1] + table[2]
    assert "tags" not in "".join(table)


def test_export_reads_all_pages(akidb: Run, points: str, tmp_path: Path) -> None:
    file = tmp_path / "points.jsonl"
    vector = [1.0] * 16
    file.write_text("".join(f'{{"id": "{i:05}", "vector": {vector}}}\n' for i in range(2_345)))
    assert akidb("document", "import", points, file).status == 0
    lines = akidb("document", "export", points).out.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [f"{i:05}" for i in range(2_345)]


def test_search_by_text(akidb: Run, filled: str) -> None:
    found = akidb("search", filled, "vectors live in SQL", "--top-k", "2", "--json").json
    assert set(found) == {"matches", "statistics", "next_cursor"}
    assert found["matches"][0]["id"] == "a"
    assert found["matches"][0]["score"] == pytest.approx(1.0, abs=1e-5)
    assert found["matches"][0]["text"] == "vectors live in SQL"
    assert len(found["matches"]) == 2
    table = akidb("search", filled, "bakery")
    assert table.out.splitlines()[0].split() == ["score", "id", "text", "metadata"]
    assert table.err.startswith("3 matches in ")


def test_search_with_filter_and_threshold(akidb: Run, filled: str) -> None:
    found = akidb("search", filled, "vectors", "--filter", '{"year": 1999}', "--json").json
    assert [match["id"] for match in found["matches"]] == ["b"]
    found = akidb("search", filled, "vectors live in SQL", "--score-threshold", "0.9", "--json").json
    assert [match["id"] for match in found["matches"]] == ["a"]
    assert akidb("search", filled, "vectors", "--top-k", "0").status == 2
    assert akidb("search", filled).status == 2


def test_search_returns_only_included_fields(akidb: Run, filled: str) -> None:
    search = ["search", filled, "vectors live in SQL", "--top-k", "1", "--ef-search", "50", "--json"]
    [match] = akidb(*search, "--include", "metadata,vector").json["matches"]
    assert set(match) == {"id", "score", "metadata", "vector"}
    [match] = akidb(*search, "--include", "").json["matches"]
    assert set(match) == {"id", "score"}
    assert akidb(*search, "--include", "text,size").problem["field"] == "include"
    assert akidb(*search, "--ef-search", "0").problem["field"] == "ef_search"


def test_search_by_words(akidb: Run, filled: str) -> None:
    found = akidb("search", filled, "sql*", "--mode", "keyword", "--highlights", "--json").json
    assert found["statistics"]["plan"] == "keyword"
    assert all("<em>SQL</em>" in match["highlight"] for match in found["matches"])
    assert [match["id"] for match in found["matches"]] == ["a"]
    assert "<em>SQL</em>" in akidb("search", filled, "sql", "--mode", "keyword", "--highlights").out
    weights = ["--mode", "hybrid", "--weights", '{"vector": 0}', "--json"]
    assert [match["id"] for match in akidb("search", filled, "sql", *weights).json["matches"]] == ["a"]
    assert akidb("search", filled, "sql", "--mode", "words", "--json").problem["field"] == "mode"
    assert akidb("search", filled, "sql", "--weights", "{}", "--json").problem["field"] == "weights"


def test_search_by_id_in_pages_and_groups(akidb: Run, filled: str) -> None:
    like = akidb("search", filled, "--id", "a", "--top-k", "1", "--json").json
    assert [match["id"] for match in like["matches"]] != ["a"]
    assert akidb("search", filled, "--id", "none", "--json").problem["code"] == "not_found"
    rest = akidb("search", filled, "--id", "a", "--cursor", like["next_cursor"], "--json").json
    assert {match["id"] for match in [*like["matches"], *rest["matches"]]} == {"b", "c"}
    assert "more: --cursor " in akidb("search", filled, "--id", "a", "--top-k", "1").err
    groups = akidb("search", filled, "vectors", "--group-by", "year", "--group-size", "2", "--json").json
    assert 1999 in [match["group"] for match in groups["matches"]]
    table = akidb("search", filled, "vectors", "--group-by", "year").out
    assert table.splitlines()[0].split() == ["group", "score", "id", "text", "metadata"]


def test_search_by_vector(akidb: Run, points: str, tmp_path: Path) -> None:
    file = tmp_path / "points.jsonl"
    one, other = [1.0, *[0.0] * 15], [*[0.0] * 15, 2.0]
    file.write_text(f'{{"id": "one", "vector": {one}}}\n{{"id": "other", "vector": {other}}}\n')
    assert akidb("document", "import", points, file).status == 0
    found = akidb("search", points, "--vector", json.dumps(other), "--json").json["matches"]
    assert [match["id"] for match in found] == ["other", "one"]
    for wrong in ("[1, 2]", "[", '["a"]', "{}"):
        assert akidb("search", points, "--vector", wrong).status == 2
    assert akidb("search", points, "text").status == 2


def test_list_shows_documents_by_page_and_filter(akidb: Run, points: str, tmp_path: Path) -> None:
    file = tmp_path / "points.jsonl"
    vector = [1.0] * 16
    lines = [{"id": f"p{i}", "vector": vector, "text": f"text {i}", "metadata": {"n": i}} for i in range(5)]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert akidb("document", "import", points, file).status == 0
    first = akidb("document", "list", points, "--limit", "2", "--filter", '{"n": {"$gte": 1}}')
    assert [line.split()[0] for line in first.out.splitlines()] == ["id", "p1", "p2"]
    assert first.out.splitlines()[0].split() == ["id", "text", "metadata"]
    cursor = first.err.split("--cursor ")[1].strip()
    rest = akidb(
        "document", "list", points, "--filter", '{"n": {"$gte": 1}}', "--cursor", cursor, "--json"
    ).json
    assert ([each["id"] for each in rest["items"]], rest["next_cursor"]) == (["p3", "p4"], None)
    only = akidb("document", "list", points, "--include", "vector", "--limit", "1")
    assert [line.split()[0] for line in only.out.splitlines()] == ["id", "p0"]
    assert only.out.splitlines()[0].split() == ["id", "vector"]
    got = akidb("document", "get", points, "p0", "--include", "text")
    assert got.out.splitlines()[0].split() == ["id", "text"]
    assert akidb("document", "list", points, "--include", "x", "--json").problem["field"] == "include"
    assert akidb("document", "list", points, "--limit", "0", "--json").problem["field"] == "limit"
