"""Files of keyword indexes that are damaged, removed, in the way, full or closed: answers stay right."""

import os
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from samples import Shelf, document
from test_keyword_indexes import ask

from akidb.deployment.places import UnknownDisk
from akidb.domain.errors import StorageFull
from akidb.domain.keywords import terms_of
from akidb.search.keywords.indexes import FtsKeywords
from own_disks import mounted

NOW = datetime(2026, 1, 31, tzinfo=UTC)
QUESTION = "fox night*"

pytestmark = pytest.mark.parametrize("stores", ["sqlite"], indirect=True)


def opened(folder: Path, **how: int) -> FtsKeywords:
    return FtsKeywords(folder / "indexes", UnknownDisk(), lambda: NOW, **how)


@pytest.fixture
def keywords(tmp_path: Path) -> Iterator[FtsKeywords]:
    made = opened(tmp_path)
    yield made
    made.close()


@pytest.fixture
def right(shelf: Shelf) -> list[tuple[str, float]]:
    """The right answer to the question about a filled shelf."""
    shelf.upsert(
        *(document(f"d{n:03}", f"fox number {n}" if n % 3 else f"nightfall {n}") for n in range(200))
    )
    fresh = FtsKeywords(None, UnknownDisk(), lambda: NOW)
    found = ask(fresh, shelf, QUESTION)
    fresh.close()
    assert len(found) == 200
    return found


def file_of(folder: Path) -> Path:
    [found] = folder.rglob("keywords.db")
    return found


def test_flipped_bytes_of_a_closed_file_are_noticed(
    shelf: Shelf, right: list[tuple[str, float]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    some = random.Random(1)
    for _ in range(12):
        keywords = opened(tmp_path)
        assert ask(keywords, shelf, QUESTION) == right
        keywords.close()
        file = file_of(tmp_path)
        content = bytearray(file.read_bytes())
        content[some.randrange(len(content))] ^= 1 << some.randrange(8)
        file.write_bytes(content)
    told = [record.message for record in caplog.records if "made anew" in record.message]
    assert len(told) == 11
    assert all(str(shelf.collection.collection_id) in message for message in told)


def _flipped(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.seek(5_000)
        opened.write(b"damage")


def _shorter(file: Path) -> None:
    os.truncate(file, 4_096)


def _empty(file: Path) -> None:
    os.truncate(file, 0)


def _removed(file: Path) -> None:
    file.unlink()


def _all_removed(file: Path) -> None:
    shutil.rmtree(file.parents[2])


def _another(file: Path) -> None:
    file.unlink()
    file.write_bytes(b"something else" * 1_000)


def _link(file: Path) -> None:
    target = file.with_name("target")
    file.rename(target)
    file.symlink_to(target)


HARM = [_flipped, _shorter, _empty, _removed, _all_removed, _another, _link]


@pytest.mark.parametrize("harm", HARM)
@pytest.mark.parametrize("is_open", [True, False])
def test_answers_are_right_after_harm_to_the_file(
    shelf: Shelf,
    right: list[tuple[str, float]],
    keywords: FtsKeywords,
    tmp_path: Path,
    harm: Callable[[Path], None],
    *,
    is_open: bool,
) -> None:
    assert ask(keywords, shelf, QUESTION) == right
    if not is_open:
        keywords.close()
    harm(file_of(tmp_path))
    assert ask(keywords, shelf, QUESTION) == right
    shelf.upsert(document("new", "fox"))
    assert len(ask(keywords, shelf, QUESTION)) == 201
    keywords.close()
    again = opened(tmp_path)
    assert len(ask(again, shelf, QUESTION)) == 201
    again.close()


@pytest.mark.parametrize(
    "note", [b"", b"{", b"null", b'{"size":1,"checksum":2,"used_at":"2026-01-31T00:00:00Z"}']
)
def test_damaged_note_is_no_checksum(
    shelf: Shelf, right: list[tuple[str, float]], keywords: FtsKeywords, tmp_path: Path, note: bytes
) -> None:
    assert ask(keywords, shelf, QUESTION) == right
    keywords.close()
    file_of(tmp_path).with_name("keywords.json").write_bytes(note)
    assert ask(keywords, shelf, QUESTION) == right
    keywords.close()
    file_of(tmp_path).with_name("keywords.json").write_bytes(note)
    keywords.remove_unused(datetime(2020, 1, 1, tzinfo=UTC))
    assert ask(keywords, shelf, QUESTION) == right


def test_file_that_was_not_closed_is_not_used(
    shelf: Shelf, right: list[tuple[str, float]], keywords: FtsKeywords, tmp_path: Path
) -> None:
    """As a killed process leaves it: changed after the note was removed."""
    assert ask(keywords, shelf, QUESTION) == right
    file = file_of(tmp_path)
    assert not file.with_name("keywords.json").exists()
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "indexes", copy / "indexes")
    os.truncate(file_of(copy), 8_192)
    killed = opened(copy)
    assert ask(killed, shelf, QUESTION) == right
    killed.close()


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_without_a_directory_the_index_is_temporary(
    shelf: Shelf,
    right: list[tuple[str, float]],
    keywords: FtsKeywords,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    depth: int,
) -> None:
    """A file is in its place; permissions say nothing to root."""
    path = Path("indexes", str(shelf.tenant.tenant_id), str(shelf.collection.collection_id))
    place = tmp_path.joinpath(*path.parts[:depth])
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("in the way")
    for _ in range(2):
        assert ask(keywords, shelf, QUESTION) == right
        keywords.close()
    assert place.read_text() == "in the way"
    assert len([r for r in caplog.records if "temporary files" in r.message]) == 1


class _Full(UnknownDisk):
    def require(self, growth_bytes: int = 0) -> None:
        raise StorageFull(f"no room for {growth_bytes} bytes")


def test_reserve_of_the_disk_is_left_alone(
    shelf: Shelf, right: list[tuple[str, float]], tmp_path: Path
) -> None:
    keywords = FtsKeywords(tmp_path / "indexes", _Full(), lambda: NOW)
    assert ask(keywords, shelf, QUESTION) == right
    shelf.delete("d000")
    assert len(ask(keywords, shelf, QUESTION)) == 199
    keywords.close()


@pytest.mark.own_disk
def test_full_disk_does_not_change_the_answer(
    shelf: Shelf, right: list[tuple[str, float]], tmp_path: Path
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    with mounted(small, "size=64k"):
        keywords = opened(small)
        assert ask(keywords, shelf, QUESTION) == right
        shelf.upsert(*(document(f"e{n:03}", f"fox again {n} " * 20) for n in range(200)))
        assert len(ask(keywords, shelf, QUESTION)) == 400
        keywords.close()


def test_number_of_open_files_is_bounded_and_none_is_left(shelf: Shelf, tmp_path: Path) -> None:
    keywords = opened(tmp_path, max_open=2)
    collections = [shelf.new_collection(f"c{n}") for n in range(6)]
    shelf.apply(*collections)
    for n, collection in enumerate(collections):
        shelf.upsert(*(document(f"d{m}", f"fox {n}") for m in range(n + 1)), collection=collection)

    def handles() -> int:
        links = [os.path.realpath(fd) for fd in Path("/proc/self/fd").iterdir()]
        return sum(link.endswith("keywords.db") for link in links)

    def search(turn: int) -> None:
        for step in range(12):
            n = (turn * 5 + step) % len(collections)
            assert len(ask(keywords, shelf, "fox", collection=collections[n])) == n + 1

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(search, turn) for turn in range(4)]:
            done.result()
    search(0)
    assert handles() == 2
    keywords.close_idle()
    keywords.close_idle()
    assert handles() == 0
    search(1)
    keywords.close()
    assert handles() == 0
    assert len(list(tmp_path.rglob("keywords.json"))) == 6


def test_index_removed_while_it_is_used_leaves_no_file(
    shelf: Shelf, right: list[tuple[str, float]], keywords: FtsKeywords, tmp_path: Path
) -> None:
    tenant_id, collection_id = shelf.tenant.tenant_id, shelf.collection.collection_id
    inside, removed = threading.Event(), threading.Event()

    def search() -> int:
        with keywords.locked(tenant_id, shelf.store_id, collection_id) as index, shelf.reading() as reader:
            inside.set()
            removed.wait()
            return len(index.find(reader, terms_of(QUESTION), 0, 1_000))

    with ThreadPoolExecutor() as pool:
        running = pool.submit(search)
        inside.wait()
        assert keywords.forget(tenant_id, [collection_id])
        removed.set()
        assert running.result() == len(right)
    assert not list(tmp_path.rglob("keywords.*"))
