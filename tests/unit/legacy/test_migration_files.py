"""Files of a 1.x directory: finding, reading and writing manifests."""

import os
import stat
from pathlib import Path

import pytest

from akidb.domain.errors import InvalidArgument, Unavailable
from akidb.domain.migration import shown
from akidb.legacy.reading import MAX_MANIFEST_BYTES, find, read
from akidb.legacy.writing import STAGING, OutDirectory, is_safe
from akidb.ports.migration import FileProblem, UnreadableFile


def put(path: Path, content: bytes = b"{}") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_manifests_are_found_at_any_depth_and_in_any_case(tmp_path: Path) -> None:
    for name in ("b.json", "a.JSON", "x/y/z/c.Json", ".hidden/d.jSoN", "e.json/f.json", "日本.json"):
        put(tmp_path / name)
    for name in ("README.txt", "json", "g.json.bak", "x/h.jsonl"):
        put(tmp_path / name)
    found = find(tmp_path)
    assert found.files == sorted(
        [".hidden/d.jSoN", "a.JSON", "b.json", "e.json/f.json", "x/y/z/c.Json", "日本.json"]
    )
    assert (found.skipped, found.faults) == ([], [])


def test_symlinks_are_not_followed_and_are_reported(tmp_path: Path) -> None:
    source = tmp_path / "v1"
    put(source / "real/a.json")
    put(tmp_path / "outside/b.json")
    (source / "real/loop").symlink_to("..")
    (source / "self.json").symlink_to("self.json")
    (source / "out").symlink_to(tmp_path / "outside")
    (source / "out.json").symlink_to(tmp_path / "outside/b.json")
    (source / "again.json").symlink_to("real/a.json")
    (source / "gone.json").symlink_to("nowhere")
    (source / "README").symlink_to("nowhere")
    found = find(source)
    assert found.files == ["real/a.json"]
    assert [remark.path for remark in found.skipped] == [
        "again.json",
        "gone.json",
        "out",
        "out.json",
        "real/loop",
        "self.json",
    ]
    assert {remark.reason for remark in found.skipped} == {"is a symbolic link; links are not followed"}


def test_root_directory_can_be_symlink(tmp_path: Path) -> None:
    put(tmp_path / "v1/a.json")
    (tmp_path / "link").symlink_to("v1")
    assert find(tmp_path / "link").files == ["a.json"]


def test_named_pipe_is_skipped_without_blocking(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    assert find(tmp_path).skipped == [FileProblem("pipe.json", "is not a regular file")]
    with pytest.raises(UnreadableFile, match="not a regular file"):
        read(tmp_path, "pipe.json")


@pytest.mark.parametrize("name", ["nowhere", "file"])
def test_source_that_is_not_directory_is_refused(tmp_path: Path, name: str) -> None:
    put(tmp_path / "file")
    with pytest.raises(InvalidArgument) as caught:
        find(tmp_path / name)
    assert caught.value.field == "v1_data_dir"


def test_unreadable_directory_is_reported(tmp_path: Path) -> None:
    long = tmp_path
    put(tmp_path / "a.json")
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(20):  # so deep that its path is too long to be opened
            os.mkdir("d" * 250, dir_fd=descriptor)
            deeper = os.open("d" * 250, os.O_RDONLY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = deeper
            long /= "d" * 250
    finally:
        os.close(descriptor)
    found = find(tmp_path)
    assert found.files == ["a.json"]
    assert len(found.faults) == 1
    assert found.faults[0].reason.startswith("the directory cannot be read: ")


def test_file_is_read_unchanged(tmp_path: Path) -> None:
    content = bytes(range(256)) * 300
    put(tmp_path / "x/a.json", content)
    put(tmp_path / "empty.json", b"")
    assert read(tmp_path, "x/a.json") == content
    assert read(tmp_path, "empty.json") == b""


def test_file_over_manifest_size_limit_is_refused(tmp_path: Path) -> None:
    with put(tmp_path / "big.json").open("r+b") as file:
        file.truncate(MAX_MANIFEST_BYTES)
        assert len(read(tmp_path, "big.json")) == MAX_MANIFEST_BYTES
        file.truncate(MAX_MANIFEST_BYTES + 1)
    with pytest.raises(UnreadableFile, match="larger"):
        read(tmp_path, "big.json")


def test_file_replaced_by_symlink_or_removed_is_not_read(tmp_path: Path) -> None:
    put(tmp_path / "a.json")
    (tmp_path / "b.json").symlink_to("a.json")
    for name in ("b.json", "c.json", "a.json/d.json"):
        with pytest.raises(UnreadableFile, match="cannot be read"):
            read(tmp_path, name)


def test_file_name_not_in_utf_8_is_found_and_can_be_displayed(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.json")).write_bytes(b"{}")
    (path,) = find(tmp_path).files
    assert os.fsencode(path) == b"caf\xe9.json"
    assert read(tmp_path, path) == b"{}"
    assert shown(path) == "caf\\xe9.json"


@pytest.mark.parametrize(
    "path", ["/etc/a.json", "../a.json", "a/../../b.json", "a//b", "./a", "", "a/", f"{STAGING}/0", "a\0"]
)
def test_unsafe_paths(path: str) -> None:
    assert not is_safe(path)


@pytest.mark.parametrize("path", ["a.json", "a/b.json", "..a/b..", "a/.akidb-partial"])
def test_safe_paths(path: str) -> None:
    assert is_safe(path)


def test_files_are_moved_into_place_after_all_are_written(tmp_path: Path) -> None:
    out = OutDirectory(tmp_path / "new/out")
    out.write("x/y/a.json", b"1")
    out.write("b" * 250 + ".json", b"2")
    assert [path.name for path in (tmp_path / "new/out").iterdir()] == [STAGING]
    out.finish()
    files = {p.relative_to(tmp_path / "new/out"): p for p in (tmp_path / "new/out").rglob("*")}
    assert {str(name) for name in files} == {"x", "x/y", "x/y/a.json", "b" * 250 + ".json"}
    assert {stat.S_IMODE(p.stat().st_mode) for p in files.values() if p.is_file()} == {0o600}
    assert {stat.S_IMODE(p.stat().st_mode) for p in files.values() if p.is_dir()} == {0o700}


def test_leftovers_of_killed_run_are_overwritten(tmp_path: Path) -> None:
    first = OutDirectory(tmp_path)
    for number in range(5):
        first.write(f"{number}.json", b"of the killed run")
    second = OutDirectory(tmp_path)
    assert second.existing == set()
    second.write("0.json", b"0")
    second.finish()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"0.json": b"0"}


def test_unexpected_files_and_different_contents_are_refused(tmp_path: Path) -> None:
    put(tmp_path / "x/a.json", b"1")
    out = OutDirectory(tmp_path)
    out.refuse_strangers({"x/a.json", "b.json"})
    out.refuse_other("x/a.json", b"1")
    with pytest.raises(InvalidArgument, match=r"x/a\.json"):
        out.refuse_strangers({"b.json"})
    with pytest.raises(InvalidArgument, match=r"different x/a\.json"):
        out.refuse_other("x/a.json", b"2")
    (tmp_path / "link").symlink_to("/")
    with pytest.raises(InvalidArgument, match="link"):
        OutDirectory(tmp_path).refuse_strangers({"x/a.json"})


@pytest.mark.parametrize("kind", ["file", "link"])
def test_output_path_that_is_not_directory_is_refused(tmp_path: Path, kind: str) -> None:
    if kind == "file":
        put(tmp_path / "out")
    else:
        (tmp_path / "out").symlink_to("nowhere")
    with pytest.raises(InvalidArgument):
        OutDirectory(tmp_path / "out")


def test_unwritable_output_is_unavailable(tmp_path: Path) -> None:
    put(tmp_path / "file")
    out = OutDirectory(tmp_path / "file/out")
    with pytest.raises(Unavailable):
        out.write("a.json", b"1")
