"""The attacks: what a slow, greedy or hostile client of one tenant does while another tenant works.

Each is bounded in connections, bytes and time, and connects only to this machine.
"""

import json
import math
import socket
import time
from collections.abc import Callable, Iterator
from itertools import count, cycle
from typing import NamedTuple
from urllib.parse import quote

from akidb.bench.neighbours.sockets import (
    ARCHIVE,
    REFUSED_PAUSE_SECONDS,
    Target,
    head,
    hold,
    repeat,
    request,
)

GREEDY = "/v1/tenants/greedy"
COLLECTIONS = f"{GREEDY}/databases/kb/collections"
SMALL, LARGE, VECTORS = f"{COLLECTIONS}/small", f"{COLLECTIONS}/large", f"{COLLECTIONS}/vectors"
DIMENSION = 16
LARGE_DOCUMENTS = 200
USER = "eve@example.org"
BODY_BYTES = 64 * 2**20
CONDITIONS = 100
TRAILER_BYTES = 48 * 2**20
"""What is sent of trailers at most: a server that keeps them needs 20 times as much memory."""
DESCRIPTORS = 256
ARCHIVE_NAME = "archive"
"""The file of an exported tenant in the folder of the attack."""


class Attack(NamedTuple):
    """An attack, and what it needs."""

    run: Callable[[Target], None]
    what: str
    needs: tuple[str, ...] = ()
    """Collections of the greedy tenant that are filled beforehand; `archive`: its export, as a file."""
    descriptors: int | None = None
    """The number of files that the server may open, if less than usual."""


def _vector(seed: int, dimension: int) -> list[float]:
    return [round(math.sin(seed * 7919 + i * 104729), 5) for i in range(dimension)]


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def no_attack(target: Target) -> None:
    """Do nothing, as a control."""
    target.under_way()
    _wait(target)


def import_drips(target: Target) -> None:
    """Send an import byte by byte."""
    hold(
        target,
        16,
        head("POST", "/v1/import", media_type=ARCHIVE),
        drip=lambda: b"1\r\nA\r\n",
        every_seconds=0.5,
    )


def exports_unread(target: Target) -> None:
    """Ask for exports and do not read them."""
    hold(target, 16, request("GET", f"{GREEDY}/export"), reads=False)


def unfinished_bodies(target: Target) -> None:
    """Send a thousand bodies without their ends."""
    hold(
        target,
        1030,
        head("POST", "/v1/tenants", length=1000) + b'{"name": "',
        drip=lambda: b"x",
        every_seconds=2,
    )


def large_bodies(target: Target) -> None:
    """Send 20 bodies of 60 MB without their ends."""
    opening = head("POST", f"{VECTORS}/documents", length=BODY_BYTES) + b" " * (60 * 2**20)
    hold(target, 20, opening, drip=lambda: b" ")


def slow_heads(target: Target) -> None:
    """Send request heads byte by byte."""
    opening = b"GET /v1/tenants HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
    hold(target, 300, opening, drip=lambda: b"a", every_seconds=0.5)


def open_connections(target: Target) -> None:
    """Open 300 connections and send nothing."""
    hold(target, 300, b"")


def filters(target: Target) -> None:
    """Count and scan with a filter of 100 conditions that no document meets."""
    conditions = [{"kind": {"$contains": f"no such {i}"}} for i in range(CONDITIONS)]
    condition = {"$or": conditions}
    counted = request("POST", f"{SMALL}/documents/count", _json({"filter": condition}))
    scanned = request("GET", f"{SMALL}/documents?filter={quote(_json(condition).decode())}")
    repeat(target, 32, cycle([counted, scanned]))


def large_answers(target: Target) -> None:
    """Search for 200 documents of 1 MB, and read them."""
    repeat(target, 2, cycle([_large_search()]))


def unread_answers(target: Target) -> None:
    """Search for 200 documents of 1 MB on six connections, and read nothing."""
    hold(target, 6, _large_search(), reads=False)


def _large_search() -> bytes:
    asked = {"vector": _vector(1, DIMENSION), "top_k": LARGE_DOCUMENTS, "include": ["text", "metadata"]}
    return request("POST", f"{LARGE}/search", _json(asked))


def trailers(target: Target) -> None:
    """Send trailers of a chunked request without an end."""
    target.under_way()
    while not target.over:
        try:
            with target.connect() as connection:
                connection.sendall(head("POST", "/v1/tenants") + b"0\r\n")
                _send_trailers(target, connection)
        except OSError as error:
            target.counted[type(error).__name__] += 1
            time.sleep(REFUSED_PAUSE_SECONDS)


def _send_trailers(target: Target, connection: socket.socket) -> None:
    piece = b"a: 12345678\r\n" * 2520  # 32 KiB
    while not target.over:
        if target.counted["bytes"] < TRAILER_BYTES:
            connection.sendall(piece)
            target.counted["bytes"] += len(piece)
        else:
            time.sleep(0.05)


def heavy_json(target: Target) -> None:
    """Send 15 MB of empty lists."""
    empty = b"[]," * 5_000_000 + b"[]]"
    metadata = b'{"documents":[{"id":"a","metadata":{"a":[' + empty + b"}}]}"
    bodies = [
        request("POST", "/v1/embeddings", b'{"input":[' + empty + b"}"),
        request("POST", f"{VECTORS}/documents", metadata),
        request("POST", f"{VECTORS}/search", b'{"vector":[1],"filter":{"a":{"$in":[' + empty + b"}}}"),
    ]
    repeat(target, 1, cycle(bodies))


def passwords(target: Target) -> None:
    """Send 64 wrong passwords at once."""
    body = _json({"email": USER, "password": "wrong password"})
    repeat(target, 64, cycle([request("POST", f"{GREEDY}/users/verify-password", body)]))


def idempotent_upserts(target: Target) -> None:
    """Replace the same 10,000 documents with long ids, each time with a new idempotency key."""
    vector = _vector(1, DIMENSION)
    documents = [{"id": f"{i:0>500}", "vector": vector} for i in range(10_000)]
    body = _json({"documents": documents})

    def requests() -> Iterator[bytes]:
        for number in count():
            yield request("POST", f"{SMALL}/documents", body, extra=f"Idempotency-Key: {number}\r\n")

    repeat(target, 1, requests())


def upload_drips(target: Target) -> None:
    """Send an archive quickly, but for its end, and that byte by byte."""
    archive = (target.folder / ARCHIVE_NAME).read_bytes()
    most = archive[: len(archive) * 9 // 10]
    opening = head("POST", "/v1/import?slug=copied", media_type=ARCHIVE) + b"%x\r\n%b\r\n" % (len(most), most)
    rest = iter(archive[len(most) :])
    hold(target, 4, opening, drip=lambda: b"1\r\n%c\r\n" % next(rest), every_seconds=0.5)


def greedy_upserts(target: Target) -> None:
    """Write batches of 100 x 384 on 8 connections, within the default rate."""
    bodies = [
        request(
            "POST",
            f"{VECTORS}/documents",
            _json(
                {"documents": [{"id": f"{n}-{i}", "vector": _vector(n * 100 + i, 384)} for i in range(100)]}
            ),
        )
        for n in range(4)
    ]
    repeat(target, 8, cycle(bodies))


def _burn(target: Target, share: float) -> None:
    """Use a share of a core without a request, as a control."""
    target.under_way()
    while not target.over:
        began = time.perf_counter()
        while time.perf_counter() - began < 0.01 * share:
            pass
        time.sleep(0.01 * (1 - share))


def _wait(target: Target) -> None:
    while not target.over:
        time.sleep(0.05)


ATTACKS = {
    "no_attack": Attack(no_attack, "nothing, as a control"),
    "half_a_core": Attack(lambda target: _burn(target, 0.5), "a busy process without requests, as a control"),
    "one_core": Attack(lambda target: _burn(target, 1.0), "a busy process without requests, as a control"),
    "import_drips": Attack(import_drips, "16 imports sent byte by byte"),
    "exports_unread": Attack(exports_unread, "16 exports of 200 MB that are not read", ("large",)),
    "unfinished_bodies": Attack(unfinished_bodies, "1,030 JSON bodies without their ends"),
    "large_bodies": Attack(large_bodies, "20 bodies of 60 MB without their ends", ("vectors",)),
    "slow_heads": Attack(slow_heads, "300 heads sent byte by byte"),
    "open_connections": Attack(
        open_connections, f"300 idle connections; the server may open {DESCRIPTORS} files", (), DESCRIPTORS
    ),
    "filters": Attack(filters, "32 counts and scans of 20,000 documents with 100 conditions", ("small",)),
    "large_answers": Attack(large_answers, "2 searches for 200 documents of 1 MB", ("large",)),
    "unread_answers": Attack(unread_answers, "6 such searches that are not read", ("large",)),
    "trailers": Attack(trailers, "a chunked body with 48 MiB of trailers"),
    "heavy_json": Attack(heavy_json, "15 MB of [], in a body", ("vectors",)),
    "passwords": Attack(passwords, "64 wrong passwords at once"),
    "idempotent_upserts": Attack(
        idempotent_upserts, "10,000 documents, replaced with ever new idempotency keys", ("small",)
    ),
    "upload_drips": Attack(
        upload_drips, "4 imports of 100 MB with ends that are sent byte by byte", ("archive",)
    ),
    "greedy_upserts": Attack(greedy_upserts, "8 connections that write batches of 100 x 384", ("vectors",)),
}
"""By name, in the order in which they run."""
