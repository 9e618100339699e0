"""How `connect` resolves targets, and which ones it rejects."""

import math
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import akidb
from akidb.client.connect import resolve


@pytest.mark.parametrize(
    ("target", "meant"),
    [
        ("data", Path("data")),
        ("./data", Path("data")),
        ("/srv/akidb", Path("/srv/akidb")),
        (Path("http:") / "data", Path("http:/data")),
        ("sqlite:///data", Path("data")),
        ("sqlite:////srv/akidb", Path("/srv/akidb")),
        ("http://localhost:8080", "http://localhost:8080"),
        ("http://[::1]:8080/", "http://[::1]:8080/"),
        ("https://akidb.example.com/team", "https://akidb.example.com/team"),
        ("unix:///run/akidb.sock", "unix:///run/akidb.sock"),
        ("UNIX:///run/akidb.sock", "unix:///run/akidb.sock"),
    ],
)
def test_target_is_directory_or_server_url(target: str | Path, meant: str | Path) -> None:
    assert resolve(target) == meant


@pytest.mark.parametrize(
    "target",
    [
        "",
        "a\0b",
        "sqlite://",
        "sqlite:///",
        "sqlite:data",
        "sqlite://data",
        "sqlite:///:memory:",
        "sqlite:///data?mode=ro",
        "http://",
        "http://:8080",
        "http://localhost:0",
        "http://localhost:99999",
        "http://localhost:port",
        "http://localhost:8080?x=1",
        "http://localhost:8080/v1",
        "https://akidb.example.com/team/v1/",
        "http://localhost:8080#x",
        "http://user:secret@localhost:8080",
        "http://local host:8080",
        "http://localhost:8080\n",
        "http://[::1",
        "unix://run/akidb.sock",
        "unix:akidb.sock",
        "ftp://localhost",
        ":8080",
        ":MEMORY:",
        ":Memory:",
        "sqlite:///:MEMORY:",
        "127.0.0.1:8080/x",
        "my_host:8080",
    ],
)
def test_invalid_target_is_rejected_and_named(target: str) -> None:
    with pytest.raises(akidb.InvalidArgument) as caught:
        akidb.connect(target)
    assert caught.value.field == "url"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg", "postgres"])
def test_all_postgresql_url_schemes_are_accepted(scheme: str, postgres_url: str) -> None:
    with akidb.connect(postgres_url.replace("postgresql", scheme, 1)) as client:
        client.tenants.create("Aki Labs")
    with akidb.connect(postgres_url) as client:
        assert client.tenants.get("aki-labs").name == "Aki Labs"


def test_unreachable_postgresql_error_omits_password() -> None:
    with pytest.raises(akidb.Unavailable, match="PostgreSQL database akidb: ") as caught:
        akidb.connect("postgresql://aki:secret@127.0.0.1:1/akidb")
    assert "secret" not in str(caught.value)


def test_file_is_rejected_as_data_directory(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    for target in (tmp_path / "notes.txt", f"sqlite:///{tmp_path}/notes.txt"):
        with pytest.raises(akidb.InvalidArgument, match="is a file, not a directory"):
            akidb.connect(target)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_socket_path_resolves_to_server(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        assert resolve(tmp_path / "s") == f"unix://{tmp_path}/s"


def test_unknown_setting_is_rejected_and_named(tmp_path: Path) -> None:
    with pytest.raises(akidb.InvalidArgument, match="model_dir"):
        akidb.connect(tmp_path, model_dir="x")


@pytest.mark.parametrize("target", [b"x", 5, 1.5, ["x"], {}], ids=repr)
def test_target_of_another_type_is_rejected_and_named(target: Any) -> None:
    with pytest.raises(akidb.InvalidArgument, match="must be text or a path") as caught:
        akidb.connect(target)
    assert caught.value.field == "url"


def test_path_of_bytes_is_rejected_and_named(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    [entry] = os.scandir(os.fsencode(tmp_path))
    with pytest.raises(akidb.InvalidArgument, match="must be text or a path"):
        akidb.connect(entry)  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [0, -1.0, math.nan, math.inf, 1e10, "5", None, True, [1]], ids=repr)
def test_timeout_must_be_a_positive_number(seconds: Any, tmp_path: Path) -> None:
    for target in ("http://localhost:1", tmp_path / "d"):
        with pytest.raises(akidb.InvalidArgument) as caught:
            akidb.connect(target, timeout_seconds=seconds)
        assert caught.value.field == "timeout_seconds"
    assert not (tmp_path / "d").exists()


def test_timeout_may_be_a_number_of_numpy() -> None:
    akidb.connect("http://localhost:1", timeout_seconds=np.int64(5)).close()  # type: ignore[arg-type]
