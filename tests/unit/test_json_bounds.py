"""Bounds on the values of a JSON body, and the decoding of a large batch in pieces."""

import gc
import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from akidb.domain import json_batch, json_weight
from akidb.domain.errors import InvalidArgument
from akidb.domain.json import decode_strict
from akidb.domain.json_batch import decode_bounded
from akidb.domain.json_weight import (
    MAX_BLANK_BYTES,
    MAX_PIECE_BYTES,
    Weight,
    collector_paused,
    exact_weight,
    quick_weight,
)
from akidb.operations import OPERATIONS
from akidb.operations.documents import SearchDocuments, UpsertDocuments

BATCH = OPERATIONS[UpsertDocuments].shape
SEARCH = OPERATIONS[SearchDocuments].shape


def _counted(body: bytes) -> Weight:
    """The weight, one byte at a time."""
    containers = strings = commas = 0
    inside = escaped = False
    for byte in body:
        if inside:
            inside = escaped or byte != ord('"')
            escaped = not escaped and byte == ord("\\")
        elif byte == ord('"'):
            inside, strings = True, strings + 1
        else:
            containers += byte in b"[{"
            commas += byte == ord(",")
    return Weight(containers, strings, commas)


def _value(chance: random.Random, depth: int = 0) -> Any:
    kind = chance.random()
    if depth > 3 or kind < 0.5:
        return "".join(chance.choice('[{"\\a,:') for _ in range(chance.randrange(6)))
    if kind < 0.7:
        return [_value(chance, depth + 1) for _ in range(chance.randrange(3))]
    return {_value(chance, 9): _value(chance, depth + 1) for _ in range(chance.randrange(3))}


def test_exact_weight_ignores_text_wherever_blocks_end(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(500):
        monkeypatch.setattr(json_weight, "_BLOCK_BYTES", 1 + seed % 9)
        body = json.dumps(_value(random.Random(seed))).encode()
        assert exact_weight(body) == _counted(body), body
        assert all(
            quick >= exact for quick, exact in zip(quick_weight(body), exact_weight(body), strict=True)
        )


@pytest.mark.parametrize(
    "body",
    [
        b'{"text": "x", "filter": {"a": [' + b"[]," * 1_000_001 + b"0]}}",
        b'{"vector": [' + b"0," * 1_000_001 + b"0]}",
        b'{"vector": [' + b"0," * 1_000_001 + b'0], "vector": [1]}',
        b"[" * 1_000_001,
    ],
    ids=["lists", "numbers", "duplicate", "depth"],
)
def test_too_many_values_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidArgument, match="body: must contain at most 1000000 values"):
        decode_bounded(body, SEARCH)


def test_text_is_not_taken_for_values() -> None:
    text = '[{"a,' * 300_000
    assert decode_bounded(json.dumps({"text": text}).encode(), SEARCH).text == text  # type: ignore[attr-defined]
    documents = [{"id": "a", "text": text}, {"id": "b", "text": text}]
    found: Any = decode_bounded(json.dumps({"documents": documents}).encode(), BATCH)
    assert [document.text for document in found.documents] == [text, text]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (
            b'{"documents": [{"metadata": {"a": [' + b"[]," * 1_000_001 + b"0]}}]}",
            "1000000 lists and objects",
        ),
        (b'{"documents": [{"metadata": {"a": [' + b'"",' * 4_000_001 + b"0]}}]}", "4000000 strings"),
        (b'{"documents": [{"vector": [' + b"0," * 600_001 + b"0]}]}", r"documents\[0\].* 600000 values"),
        (b'{"documents": [' + b"{}," * 400_000 + b"{}]}", "1 to 10000 documents"),
    ],
    ids=["lists", "strings", "numbers", "documents"],
)
def test_heavy_batches_are_refused(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        decode_bounded(body, BATCH)


DOCUMENTS = (
    b'{"documents": [{"id": "a:b", "text": "\\u003a", "metadata": {"a": [1, {"b": null}]}, "vector": [1.5]},'
    b' {"id": "b"}]}'
)


@pytest.mark.parametrize(
    "body",
    [
        DOCUMENTS,
        DOCUMENTS[:-1],
        DOCUMENTS.replace(b'"id": "b"', b'"id": "b", "id": "c"'),
        DOCUMENTS.replace(b'"id": "b"', b'"ix": 3'),
        DOCUMENTS.replace(b'"id": "b"', b'"id": 3'),
        DOCUMENTS.replace(b'"id": "b"', b'"body": 3'),
        DOCUMENTS.replace(b"null", b'{"k": 1, "k": 2}'),
        b"[]",
        b"{}",
        b'{"documents": 3}',
        b'{"documents": [[1], {"id": 5}]}',
        b'{"documents": [], "documents": []}',
        b'{"documents": [], "more": 1}',
        b'{ "documents" : [ {} , {} ] } ',
        b'{"mode": "skip", ' + DOCUMENTS[1:],
        DOCUMENTS[:-1] + b', "mode": "a:[\\u003a{"}',
        DOCUMENTS[:-1] + b', "mode": {"a": [":"], "b": 1}}',
        DOCUMENTS[:-1] + b', "mode": {"a": 1, "a": 1}}',
        DOCUMENTS[:-1] + b', "mode": "\\ud83d"}',
        b'{"mode": "[", ' + DOCUMENTS.replace(b'"id": "b"', b'"id": "b\\ud83d"')[1:],
        b"\xff" + DOCUMENTS,
        DOCUMENTS.replace(b'"id": "b"', b'"id": "b\\ud83d"'),
        DOCUMENTS.replace(b'"id": "b"', b'"id": "\\ud83d\\ude00", "text": "\\\\ud83d"'),
        DOCUMENTS.replace(b"null", b'{"\\udc00": 1}'),
        DOCUMENTS.replace(b'"id": "b"', b'"text": "' + b"x" * 2**20 + b'\\ud83d"'),
        b'{"documents": [{"metadata": {"a": ' + b"[" * 5000 + b"]" * 5000 + b"}}]}",
    ],
)
def test_pieces_decode_like_the_whole(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_batch, "LARGE_BYTES", 0)
    assert _decoded(decode_bounded, body) == _decoded(decode_strict, body)


def test_second_mode_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_batch, "LARGE_BYTES", 0)
    with pytest.raises(InvalidArgument, match="body: duplicate key"):
        decode_bounded(b'{"mode": "skip", "documents": [], "mode": "skip"}', BATCH)


def test_long_mode_is_refused() -> None:
    body = b'{"documents": [], "mode": [' + b"[]," * 100_000 + b"0]}"
    with pytest.raises(InvalidArgument, match="mode: must be at most 1024 bytes as JSON"):
        decode_bounded(body, BATCH)


def _decoded(decode: Any, body: bytes) -> Any:
    try:
        return decode(body, BATCH)
    except InvalidArgument as error:
        return str(error)


def test_collector_is_paused_only_for_large_bodies() -> None:
    large = bytes(100_000)
    assert gc.isenabled()
    with collector_paused(b"{}"):
        assert gc.isenabled()
    with collector_paused(large):
        with collector_paused(large):
            assert not gc.isenabled()
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with collector_paused(large):
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize(
    ("opening", "unit"),
    [(b"", b" "), (b"", b"1"), (b"0.", b"1"), (b'"', b"x"), (b'"', "ä".encode()), (b'"', rb"\u0041")],
    ids=["blanks", "digits", "fraction", "text", "utf-8", "escapes"],
)
@pytest.mark.parametrize("shape", [SEARCH, BATCH])
def test_piece_that_no_field_can_have_is_refused_undecoded(
    monkeypatch: pytest.MonkeyPatch, shape: type[Any], opening: bytes, unit: bytes
) -> None:
    monkeypatch.setattr(json_batch, "decode_strict", None)
    monkeypatch.setattr(json_batch, "_batch_decoder", None)
    body = b'{"text": ' + opening + unit * (2 * MAX_PIECE_BYTES // len(unit) + 1) + b'"}'
    with pytest.raises(InvalidArgument, match="blanks of more than 8388608 bytes") as caught:
        decode_bounded(body, shape)
    assert caught.value.field == "body"


def test_many_blanks_are_refused_wherever_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    row = b"1," + b" " * 100_000
    vector = b'{"vector": [' + row * (MAX_BLANK_BYTES // len(row) + 20) + b"1]}"
    monkeypatch.setattr(json_batch, "decode_strict", None)
    with pytest.raises(InvalidArgument, match="blanks"):
        decode_bounded(vector, SEARCH)


def test_longest_text_with_every_character_escaped_is_decoded() -> None:
    text = "\\u0041" * 2**20
    batch: Any = decode_bounded(f'{{"documents": [{{"id": "a", "text": "{text}"}}]}}'.encode(), BATCH)
    assert batch.documents[0].text == "A" * 2**20
    search: Any = decode_bounded(f'{{"text": "{text}"}}'.encode(), SEARCH)
    assert search.text == "A" * 2**20


def test_blanks_of_an_indented_body_are_accepted() -> None:
    search: Any = decode_bounded(json.dumps({"vector": [1.0] * 20_000}, indent=64).encode(), SEARCH)
    assert search.vector == [1.0] * 20_000


def test_batch_of_too_many_numbers_is_refused_undecoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_batch, "_batch_decoder", None)
    body = b'{"documents": [{"id": "a", "vector": [' + b"1," * 16_000_001 + b"1]}]}"
    with pytest.raises(InvalidArgument, match="commas"):
        decode_bounded(body, BATCH)


def test_long_calls_of_the_decoder_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    at_work, most, lock = 0, 0, threading.Lock()
    decode = decode_strict

    def counted(body: bytes, shape: type[Any]) -> Any:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        value = decode(body, shape)
        with lock:
            at_work -= 1
        return value

    monkeypatch.setattr(json_batch, "decode_strict", counted)
    bodies = [b'{"text": "' + b"x" * (json_batch.LONG_CALL_BYTES + number) + b'"}' for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda body: decode_bounded(body, SEARCH), bodies))
    lengths = [len(each.text) for each in found]  # type: ignore[attr-defined]  # a search
    assert lengths == [json_batch.LONG_CALL_BYTES + number for number in range(8)]
    assert most == 1


@pytest.mark.parametrize(
    ("shape", "body"),
    [
        (SEARCH, b'{"vector": [' + b"1," * 900_000 + b"1]}"),
        (BATCH, b'{"documents": [' + b",".join([b'{"id": "a"}'] * 10_000) + b"]}"),
    ],
    ids=["search", "batch"],
)
def test_others_are_let_through_while_a_large_body_is_decoded(shape: type[Any], body: bytes) -> None:
    times = 0

    def let_others_through() -> None:
        nonlocal times
        times += 1

    decode_bounded(body, shape, let_others_through)
    assert times >= len(body) // 2**18
