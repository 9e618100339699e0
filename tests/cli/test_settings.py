"""Sources and precedence of settings, and their documentation."""

import re
from pathlib import Path

import msgspec
import pytest

from akidb.settings import Settings

from .conftest import Run

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"


def test_every_setting_is_documented() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `(AKIDB_\w+)` \|", DOCUMENT.read_text(), re.MULTILINE))
    names = [field.name for field in msgspec.structs.fields(Settings)]
    assert rows == {name: f"AKIDB_{name.upper()}" for name in names}


def test_documented_defaults_match_code() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| `AKIDB_\w+` \| `([^`]+)` \|", DOCUMENT.read_text(), re.MULTILINE))
    for field in msgspec.structs.fields(Settings):
        if field.default is not None:
            assert rows[field.name] == str(field.default)


def test_default_store_is_directory_in_current_directory(akidb: Run, tmp_path: Path) -> None:
    assert akidb("tenant", "create", "a").status == 0
    assert (tmp_path / "akidb-data" / "metadata.db").is_file()


def test_command_line_overrides_environment_overrides_file(
    akidb: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slugs(*options: str) -> list[str]:
        return [tenant["slug"] for tenant in akidb("tenant", "list", "--json", *options).json["items"]]

    for name in ("file", "environment", "option"):
        assert akidb("--data", name, "tenant", "create", name).status == 0
    (tmp_path / "akidb.toml").write_text('[akidb]\nurl = "file"\n')
    assert slugs() == ["file"]
    monkeypatch.setenv("AKIDB_URL", "environment")
    assert slugs() == ["environment"]
    assert slugs("--url", "option") == slugs("--data", "option") == ["option"]
    assert slugs("--url", "sqlite:///option") == ["option"]
    monkeypatch.delenv("AKIDB_URL")
    (tmp_path / "other.toml").write_text('[akidb]\nurl = "option"\n')
    monkeypatch.setenv("AKIDB_CONFIG", str(tmp_path / "other.toml"))
    assert slugs() == ["option"]


def test_directory_name_may_look_like_url(akidb: Run, tmp_path: Path) -> None:
    assert akidb("--data", "http:", "tenant", "create", "a").status == 0
    assert (tmp_path / "http:" / "metadata.db").is_file()


@pytest.mark.parametrize(
    "arguments",
    [
        ["tenant", "list"],
        ["tenant", "get", "a"],
        ["tenant", "usage", "a"],
        ["tenant", "delete", "a"],
        ["audit", "list", "a"],
        ["database", "create", "a", "b"],
        ["collection", "list", "a/b"],
        ["document", "count", "a/b/c"],
        ["document", "export", "a/b/c"],
        ["search", "a/b/c", "text"],
        ["doctor"],
    ],
)
@pytest.mark.parametrize("exists", [True, False])
def test_mistyped_directory_creates_no_store(
    akidb: Run, tmp_path: Path, arguments: list[str], exists: bool
) -> None:
    directory = tmp_path / "typo"
    if exists:
        directory.mkdir()
    for place in (["--data", "typo"], ["--url", "sqlite:///typo"]):
        result = akidb(*place, *arguments)
        assert (result.status, result.out) == (3, "")
        assert result.err == (
            "error: not_found: store 'typo' does not exist; "
            "`akidb tenant create`, `akidb serve` and `akidb demo` create one\n"
        )
    assert directory.exists() == exists
    assert not exists or list(directory.iterdir()) == []


@pytest.mark.parametrize(
    "text", ["[akidb]\nnope = 1\n", '[akidb]\nsynchronous = "off"\n', "[akidb\n", '[akidb]\nurl = ["a"]\n']
)
def test_invalid_settings_file_is_rejected(akidb: Run, tmp_path: Path, text: str) -> None:
    (tmp_path / "akidb.toml").write_text(text)
    result = akidb("tenant", "list")
    assert (result.status, result.err.count("\n")) == (2, 1)


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://u:p@h", "", "sqlite://x"])
def test_invalid_url_is_rejected(akidb: Run, url: str) -> None:
    problem = akidb("--json", "--url", url, "tenant", "list").problem
    assert (problem["code"], problem["field"]) == ("invalid_argument", "url")


def test_unreachable_server_is_unavailable(akidb: Run) -> None:
    result = akidb("--url", "http://127.0.0.1:9", "tenant", "list")
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert result.err.startswith("error: unavailable: ")


def test_settings_shows_values_in_force_and_their_sources(
    akidb: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "akidb.toml").write_text("[akidb]\nmax_open_stores = 1500\nlog_level = 'error'\n")
    monkeypatch.setenv("AKIDB_LOG_LEVEL", "debug")
    monkeypatch.setenv("AKIDB_WAIT_SECONDS", "2.5")
    monkeypatch.setenv("AKIDB_MODEL_SOURCE", "")
    monkeypatch.setenv("AKIDB_MAX_OPEN_STORE", "7")
    result = akidb("--data", "here", "settings")
    lines = {line.split()[0]: line.split(maxsplit=2)[1:] for line in result.out.splitlines()[1:]}
    assert lines.keys() == {field.name for field in msgspec.structs.fields(Settings)}
    assert [word.strip() for word in lines["url"]] == ["here", "argument"]
    assert [word.strip() for word in lines["log_level"]] == ["debug", "environment variable AKIDB_LOG_LEVEL"]
    assert [word.strip() for word in lines["wait_seconds"]] == [
        "2.5",
        "environment variable AKIDB_WAIT_SECONDS",
    ]
    assert [word.strip() for word in lines["max_open_stores"]] == ["1500", f"file {tmp_path / 'akidb.toml'}"]
    assert [word.strip() for word in lines["model_source"]] == ["-", "default"]
    hint = "AKIDB_MAX_OPEN_STORE is not a setting and is ignored; did you mean AKIDB_MAX_OPEN_STORES?\n"
    assert result.err == hint
    answer = akidb("settings", "--json").json
    assert answer["ignored"] == ["AKIDB_MAX_OPEN_STORE"]
    by_name = {row.pop("name"): row for row in answer["settings"]}
    assert by_name["wait_seconds"] == {
        "value": 2.5,
        "source": "environment",
        "source_name": "AKIDB_WAIT_SECONDS",
    }
    assert by_name["tracing"] == {"value": "off", "source": "default", "source_name": None}
    assert not (tmp_path / "here").exists()


def test_settings_masks_passwords(akidb: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AKIDB_URL", "postgresql://bob:secret@localhost/data")
    for options in ([], ["--json"]):
        out = akidb("settings", *options).out
        assert "postgresql://bob:***@localhost/data" in out
        assert "secret" not in out


def test_errors_of_a_wrong_location_name_its_source(
    akidb: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from akidb import connect
    from akidb.domain.errors import InvalidArgument

    file = tmp_path / "akidb.toml"
    file.write_text("[akidb]\nurl = 'ftp://x'\n")
    assert akidb("tenant", "list").err.endswith(f"not ftp (file {file})\n")
    file.write_text("[akidb]\nurl = 'typo'\n")
    assert akidb("tenant", "list").err.endswith(f"; the setting url is from the file {file}\n")
    monkeypatch.setenv("AKIDB_URL", "http://")
    assert akidb("tenant", "list").err.endswith(" (environment variable AKIDB_URL)\n")
    with pytest.raises(InvalidArgument, match=r" \(environment variable AKIDB_URL\)$"):
        connect()
    with pytest.raises(InvalidArgument, match=r"PORT$"):
        connect("http://")
    assert akidb("--url", "http://", "tenant", "list").err.endswith("PORT\n")
