"""The memory that a process may use."""

from pathlib import Path

import pytest

from akidb.deployment.machine import memory_bytes

MACHINE = memory_bytes(Path("/nowhere"))


@pytest.mark.parametrize(
    ("own", "limits", "expected"),
    [
        ("0::/\n", {"memory.max": "1000\n"}, 1000),
        ("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": "2000", "memory.max": "3000"}, 2000),
        ("0::/gone\n", {"memory.max": "1000"}, 1000),
        ("4:cpu,memory:/a\n0::/\n", {"memory/a/memory.limit_in_bytes": "4000"}, 4000),
        ("4:memory:/docker/x\n", {"memory/memory.limit_in_bytes": "5000"}, 5000),
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": str(2**63 - 4096)}, MACHINE),
        ("0::/\n", {"memory.max": "nonsense"}, MACHINE),
        ("nonsense\n", {}, MACHINE),
        ("", {}, MACHINE),
    ],
)
def test_least_limit_counts(tmp_path: Path, own: str, limits: dict[str, str], expected: int) -> None:
    (tmp_path / "own").write_text(own)
    for name, text in limits.items():
        path = tmp_path / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert memory_bytes(tmp_path / "own", tmp_path / "cgroup") == expected


def test_machine_has_memory() -> None:
    assert 2**26 < memory_bytes() <= MACHINE < 2**50
