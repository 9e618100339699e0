"""Settings: sources, precedence, and errors that name the invalid setting."""

import os
from pathlib import Path

import pytest

from akidb.domain.errors import InvalidArgument
from akidb.settings import Settings, load, load_with_sources


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("AKIDB_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_every_setting_has_default() -> None:
    assert load() == Settings()


def test_environment_values_are_converted_to_setting_types(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AKIDB_MAX_OPEN_STORES", "7")
    monkeypatch.setenv("AKIDB_SYNCHRONOUS", "normal")
    found = load()
    assert (found.max_open_stores, found.synchronous) == (7, "normal")


def test_file_in_current_directory_is_read(tmp_path: Path) -> None:
    (tmp_path / "akidb.toml").write_text("[akidb]\nmax_open_stores = 9\n")
    assert load().max_open_stores == 9


def test_named_file_overrides_file_in_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "akidb.toml").write_text("[akidb]\nmax_open_stores = 9\n")
    (tmp_path / "named.toml").write_text("[akidb]\nmax_open_stores = 10\n")
    monkeypatch.setenv("AKIDB_CONFIG", str(tmp_path / "named.toml"))
    assert load().max_open_stores == 10


def test_arguments_override_environment_and_environment_overrides_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "akidb.toml").write_text('[akidb]\nurl = "file"\nlog_level = "error"\nmax_open_stores = 5\n')
    monkeypatch.setenv("AKIDB_URL", "environment")
    monkeypatch.setenv("AKIDB_LOG_LEVEL", "debug")
    found = load(url="call", log_level=None)
    assert (found.url, found.log_level, found.max_open_stores) == ("call", "debug", 5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("synchronous", "off"),
        ("log_level", "loud"),
        ("max_open_stores", 0),
        ("max_open_stores", "many"),
        ("max_queued_requests", 0),
        ("no_such_setting", 1),
    ],
)
def test_invalid_setting_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(InvalidArgument) as caught:
        load(**{name: value})
    assert caught.value.field == name


def test_invalid_setting_error_names_setting_and_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AKIDB_MAX_OPEN_STORES", "many")
    with pytest.raises(
        InvalidArgument,
        match=r"^max_open_stores: must be a whole number, not 'many' "
        r"\(environment variable AKIDB_MAX_OPEN_STORES\)$",
    ):
        load()
    monkeypatch.delenv("AKIDB_MAX_OPEN_STORES")
    with pytest.raises(InvalidArgument, match=r"^colour: unknown setting$"):
        load(colour="red")
    with pytest.raises(InvalidArgument, match=r"^url: must be text, not 7$"):
        load(url=7)
    with pytest.raises(
        InvalidArgument, match=r"^max_open_store: unknown setting; did you mean max_open_stores\?$"
    ):
        load(max_open_store=7)


def test_errors_of_values_and_unknown_settings_name_the_file(tmp_path: Path) -> None:
    file = tmp_path / "akidb.toml"
    for content, field in (
        ("synchronous = 'off'", "synchronous"),
        ("retention_seconds = -1", "retention_seconds"),
        ("colour = 'red'", "colour"),
    ):
        file.write_text(f"[akidb]\n{content}\n")
        with pytest.raises(InvalidArgument) as caught:
            load()
        assert caught.value.field == field
        assert caught.value.reason.endswith(f" (file {file})")


def test_source_of_an_overridden_value_is_not_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "akidb.toml").write_text("[akidb]\nlog_level = 'loud'\n")
    monkeypatch.setenv("AKIDB_LOG_LEVEL", "louder")
    with pytest.raises(InvalidArgument, match=r"\(environment variable AKIDB_LOG_LEVEL\)$"):
        load()
    with pytest.raises(InvalidArgument, match=r"or error$"):
        load(log_level="loudest")
    assert load(log_level="debug").log_level == "debug"


def test_every_value_has_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "akidb.toml").write_text(
        "[akidb]\nlog_level = 'error'\nmax_open_stores = 5\ntracing = 'on'\n"
    )
    monkeypatch.setenv("AKIDB_LOG_LEVEL", "debug")
    monkeypatch.setenv("AKIDB_TRACING", "off")
    loaded = load_with_sources(tracing="on")
    expected = dict.fromkeys(Settings.__struct_fields__, "default") | {
        "tracing": "argument",
        "log_level": "environment variable AKIDB_LOG_LEVEL",
        "max_open_stores": f"file {tmp_path / 'akidb.toml'}",
    }
    assert {name: str(source) for name, source in loaded.sources.items()} == expected


def test_empty_environment_variables_count_as_not_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "akidb.toml").write_text("[akidb]\nmax_open_stores = 5\n")
    for name in ("CONFIG", *(name.upper() for name in Settings.__struct_fields__)):
        monkeypatch.setenv(f"AKIDB_{name}", "")
    assert load() == Settings(max_open_stores=5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[akidb", "is not TOML"),
        (b"\xff\xfe", "is not TOML"),
        (b"akidb = 7", r"\[akidb\] must be a table"),
        (b"[akidb]\ncolour = 'red'\n", "colour"),
        (b"[akidb]\nwait_seconds = '7'\n", "wait_seconds"),
        (b"[akidb]\nmax_open_stores = 12.0\n", "max_open_stores"),
        (b"wait_seconds = 1\n", "AKIDB_CONFIG"),
        (b"[akdib]\nwait_seconds = 1\n", "AKIDB_CONFIG"),
        (b"[akidb]\nmax_open_stores = 1.5\n", "max_open_stores"),
    ],
)
def test_invalid_file_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "akidb.toml").write_bytes(content)
    with pytest.raises(InvalidArgument, match=message):
        load()


@pytest.mark.parametrize("named", ["absent.toml", "."])
def test_named_file_that_is_unreadable_is_refused(monkeypatch: pytest.MonkeyPatch, named: str) -> None:
    monkeypatch.setenv("AKIDB_CONFIG", named)
    with pytest.raises(InvalidArgument, match="cannot read"):
        load()


def test_models_directory_is_setting_or_user_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert Settings(models_dir="models").models_path == Path("models")
    assert Settings().models_path == tmp_path / "cache" / "akidb" / "models"
