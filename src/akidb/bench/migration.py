"""Time and memory of migrating 100,000 manifests, compared with parsing the files plus one bulk insert.

Each side runs in its own process, to measure its own peak memory; both write the same tables with the same
durability.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from akidb.bench.fixtures import copied_schema
from akidb.bench.measure import Line
from akidb.operations.migration import MigrateV1ToV2

SUITE = "migration"
COUNT = 100_000
FOLDER = 1_000
"""Manifests in one directory."""
ROUNDS = 3
MAX_TIMES = 3
MAX_MEGABYTES = 300

_NOW = "2026-01-31T09:15:00.123456Z"


def run() -> list[Line]:
    """Return the results of this suite."""
    with TemporaryDirectory(prefix="akidb-bench-") as directory:
        place = Path(directory)
        write_manifests(place / "v1", COUNT)
        sides: dict[str, list[tuple[float, float]]] = {"akidb": [], "json and sqlite3": []}
        for number in range(ROUNDS):
            for side, figures in sides.items():
                figures.append(_measured(side, place / "v1", place / f"{side[:5]}-{number}"))
    seconds = {side: sorted(figure[0] for figure in figures) for side, figures in sides.items()}
    megabytes = {side: max(figure[1] for figure in figures) for side, figures in sides.items()}
    ratio = seconds["akidb"][ROUNDS // 2] / seconds["json and sqlite3"][ROUNDS // 2]
    goals = {
        "s": (f"<= {MAX_TIMES} x json and sqlite3", f"{_verdict(ratio <= MAX_TIMES)} ({ratio:.2f})"),
        "MB": (f"<= {MAX_MEGABYTES} MB", _verdict(megabytes["akidb"] <= MAX_MEGABYTES)),
    }
    lines = []
    for side in sides:
        lines.append(_line(f"migrate {COUNT:,} manifests", side, seconds[side][ROUNDS // 2], "s", goals))
        lines.append(_line("the same, peak memory", side, megabytes[side], "MB", goals))
    return lines


def write_manifests(directory: Path, count: int) -> None:
    """Write realistic 1.x manifests: several hundred bytes each, a tenth of them without a slug."""
    for number in range(count):
        folder = directory / f"{number // FOLDER:03}"
        if number % FOLDER == 0:
            folder.mkdir(parents=True)
        manifest: dict[str, Any] = {
            "tenant_id": f"tenant_018f3c2e7b6a7c3d8e9f{number * 7919 % 2**48:012x}",
            "name": f"Tenant {number} Größe",
            "slug": f"tenant-{number}-of-1x",
            "status": ("active", "suspended", "deleted")[number % 3],
            "api_key_hash": f"{number:064x}",
            "created_at": "2025-03-01T10:00:00.123456Z",
            "updated_at": "2025-03-02T11:00:00.123456+09:00",
            "quotas": {
                "max_storage_bytes": 107374182400,
                "max_collections": 50,
                "api_rate_limit_per_second": 100,
            },
            "metadata": {
                "billing_plan": "pro",
                "organization": f"Tenant {number}",
                "custom": {"region": "eu"},
            },
        }
        if number % 10 == 0:
            del manifest["slug"]
        (folder / f"{number}.json").write_text(json.dumps(manifest))


def _verdict(reached: bool) -> str:
    return "yes" if reached else "no"


def _line(work: str, side: str, figure: float, unit: str, goals: dict[str, tuple[str, str]]) -> Line:
    goal, reached = goals[unit] if side == "akidb" else ("", "")
    return Line(
        suite=SUITE, work=work, side=side, p50=figure, p95=None, unit=unit, goal=goal, reached=reached
    )


def _measured(side: str, v1: Path, data: Path) -> tuple[float, float]:
    """Seconds, and megabytes at most, of a process that does it."""
    command = [sys.executable, "-m", __name__, side, str(v1), str(data)]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    seconds, megabytes = json.loads(out)
    return seconds, megabytes


def _akidb(v1: Path, data: Path) -> Callable[[], object]:
    from akidb.deployment.local import open_local
    from akidb.settings import load

    operations = open_local(data, load())

    def work() -> None:
        operations.perform(MigrateV1ToV2(v1_data_dir=v1))
        operations.close()

    return work


def _peer(v1: Path, data: Path) -> Callable[[], object]:
    """What anybody would write, without a check: read, parse, insert."""
    from akidb.deployment.local import open_local
    from akidb.settings import load

    open_local(data, load()).close()

    def work() -> None:
        rows = [_row(path) for path in sorted(v1.rglob("*.json"))]
        with copied_schema(data / "metadata.db") as raw:
            raw.execute("BEGIN IMMEDIATE")
            for statement, values in _statements(rows):
                raw.executemany(statement, values)
            raw.execute("COMMIT")

    return work


def _row(path: Path) -> tuple[bytes, dict[str, Any], str, bytes]:
    body = path.read_bytes()
    manifest = json.loads(body)
    return bytes.fromhex(manifest["tenant_id"][7:]), manifest, path.name, body


_TENANT = (
    "INSERT INTO tenants (tenant_id, name, slug, status, memory_quota_bytes, storage_quota_bytes,"
    " qps_quota, metadata, version, created_at, updated_at)"
    " VALUES (?, ?, ?, 'active', 34359738368, ?, ?, ?, 1, ?, ?)"
)
_DATABASE = (
    "INSERT INTO databases (database_id, tenant_id, name, description, state, schema_version, version,"
    " created_at, updated_at) VALUES (?, ?, 'default', '', 'ready', 1, 1, ?, ?)"
)
_MANIFEST = (
    "INSERT INTO legacy_manifests (tenant_id, path, manifest, sha256, slug, migrated_at)"
    " VALUES (?, ?, ?, ?, 'slug', ?)"
)
_ENTRY = (
    "INSERT INTO audit_entries (audit_entry_id, tenant_id, action, resource_type, resource_id, result,"
    " metadata, created_at) VALUES (?, ?, 'tenant.migrate', 'tenant', ?, 'allowed', '{}', ?)"
)


def _statements(rows: list[tuple[bytes, dict[str, Any], str, bytes]]) -> list[tuple[str, Any]]:
    """Return the rows that a migration creates from manifests, in tenant ID order."""
    rows.sort(key=lambda row: row[0])
    return [
        (_TENANT, (_tenant(*row) for row in rows)),
        (_DATABASE, ((tenant_id, tenant_id, _NOW, _NOW) for tenant_id, *_ in rows)),
        (_MANIFEST, ((tenant_id, path.encode(), body, bytes(32), _NOW) for tenant_id, _, path, body in rows)),
        (_ENTRY, ((tenant_id, tenant_id, tenant_id.hex(), _NOW) for tenant_id, *_ in rows)),
    ]


def _tenant(tenant_id: bytes, manifest: dict[str, Any], path: str, _body: bytes) -> tuple[Any, ...]:
    quotas, slug = manifest["quotas"], manifest.get("slug", path[:-5])
    limits = (quotas["max_storage_bytes"], quotas["api_rate_limit_per_second"])
    return (tenant_id, manifest["name"], slug, *limits, json.dumps(manifest["metadata"]), _NOW, _NOW)


def _peak_megabytes() -> float:
    """Return the peak memory of this process. On Linux `ru_maxrss` would include its parent."""
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _child(side: str, v1: str, data: str) -> None:
    work = (_akidb if side == "akidb" else _peer)(Path(v1), Path(data))
    started = time.perf_counter()
    work()
    print(json.dumps([time.perf_counter() - started, _peak_megabytes()]))


if __name__ == "__main__":
    _child(*sys.argv[1:])
