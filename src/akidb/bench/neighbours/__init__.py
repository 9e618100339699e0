"""What one tenant's clients can do to another tenant: its latency, the server's memory and its liveness.

For each attack: a server with its default settings, a quiet tenant at rest, then the same beside the attack.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from math import inf, isinf

from akidb.bench.measure import Line
from akidb.bench.neighbours.attacks import ATTACKS
from akidb.bench.neighbours.quiet import Observed, observe
from akidb.bench.neighbours.stage import Stage, stage

__all__ = ["ATTACKS", "SECONDS", "SUITE", "run", "summary"]

SUITE = "neighbours"
SECONDS = 6.0
GOAL_RATIO = 2.0
GOAL_LIVE_SECONDS = 0.2
START_SECONDS = 60.0
_MEASURED = ("get", "search", "upsert")


def run(only: Sequence[str] = (), *, seconds: float = SECONDS, scale: float = 1.0) -> list[Line]:
    """Return the results of the attacks named in `only`, by default all, each of this many seconds.

    With a smaller `scale`, the tenants have fewer documents.
    """
    lines: list[Line] = []
    for name in only or ATTACKS:
        with stage(ATTACKS[name], scale=scale) as made:
            found = _attacked(name, made, seconds)
        print(summary(found).splitlines()[-1], file=sys.stderr, flush=True)
        lines += found
    return lines


def _attacked(name: str, made: Stage, seconds: float) -> list[Line]:
    url = made.server.url
    observe(url, min(1.0, seconds / 2))  # caches, the index, the connections' first requests
    rest = observe(url, seconds)
    memory, disk = made.memory_bytes(peak=False), made.disk_bytes()
    command = [sys.executable, "-m", "akidb.bench.neighbours.attacker"]
    arguments = [name, str(made.server.port), str(seconds + 0.5), str(made.folder)]
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True) as attacker:
        try:
            assert attacker.stdout is not None
            begun = attacker.stdout.readline()
            beside = observe(url, seconds)
            grown = made.disk_bytes() - disk
            said, _ = attacker.communicate(timeout=START_SECONDS)
        finally:
            attacker.kill()
    if not begun or attacker.returncode:
        raise RuntimeError(f"the attack {name} failed")
    did = json.loads(said.splitlines()[-1])
    lines = [_line(name, kind, rest[kind], beside[kind]) for kind in _MEASURED]
    lines.append(_live(name, beside["live"]))
    if memory is not None:
        peak = made.memory_bytes(peak=True)
        assert peak is not None
        lines.append(_plain(name, "memory at rest, peak", memory / 1e6, peak / 1e6, "MB"))
    lines.append(_plain(name, "disk", grown / 1e6, None, "MB"))
    lines.append(_plain(name, "attacker", did["cpu"] * 100, None, f"% CPU; {_told(did['counted'])}"))
    return lines


def _told(counted: dict[str, int]) -> str:
    return ", ".join(f"{name} {number:,}" for name, number in sorted(counted.items()))


def _line(name: str, kind: str, rest: Observed, beside: Observed) -> Line:
    before, after = rest.at(0.95), beside.at(0.95)
    ratio = after / before if before < inf else inf
    met = ratio <= GOAL_RATIO and not beside.errors
    failed = f", {beside.errors} of {len(beside.seconds)} failed" if beside.errors else ""
    return Line(
        suite=SUITE,
        work=name,
        side=kind,
        p50=beside.at(0.5) * 1e3,
        p95=after * 1e3,
        unit="ms",
        goal=f"p95 <= {GOAL_RATIO:g} x at rest",
        reached=f"{'yes' if met else 'no'} ({ratio:.1f} x {before * 1e3:.1f}{failed})",
    )


def _live(name: str, seen: Observed) -> Line:
    worst = max(seen.seconds)
    met = worst <= GOAL_LIVE_SECONDS and not seen.errors
    failed = f", {seen.errors} of {len(seen.seconds)} failed" if seen.errors else ""
    return Line(
        suite=SUITE,
        work=name,
        side="live, worst",
        p50=seen.at(0.5) * 1e3,
        p95=worst * 1e3,
        unit="ms",
        goal=f"<= {GOAL_LIVE_SECONDS * 1e3:.0f} ms",
        reached=f"{'yes' if met else 'no'} ({worst:.2f} s{failed})",
    )


def _plain(name: str, side: str, p50: float, p95: float | None, unit: str) -> Line:
    return Line(suite=SUITE, work=name, side=side, p50=p50, p95=p95, unit=unit)


def summary(lines: Sequence[Line]) -> str:
    """Return one row for each attack: the ratios of the p95, failures, liveness, memory, disk, CPU."""
    head = [
        "attack",
        *(f"{kind} p95" for kind in _MEASURED),
        "live",
        "memory",
        "disk",
        "attacker",
        "what it is",
    ]
    rows = [head]
    for name in dict.fromkeys(line.work for line in lines):
        of = {line.side.partition(",")[0].partition(" ")[0]: line for line in lines if line.work == name}
        cells = [_ratio(of[kind]) for kind in _MEASURED]
        memory = f"{of['memory'].p50:,.0f} -> {of['memory'].p95:,.0f} MB" if "memory" in of else ""
        worst = f"{(of['live'].p95 or 0) / 1e3:.2f} s" + _failures(of["live"])
        disk, cpu = f"{of['disk'].p50:+,.0f} MB", f"{of['attacker'].p50:.0f} %"
        rows.append([name, *cells, worst, memory, disk, cpu, ATTACKS[name].what])
    widths = [max(len(row[at]) for row in rows) for at in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _ratio(line: Line) -> str:
    """Return the p95 in milliseconds and as a multiple of that at rest."""
    shown = "none" if line.p95 is None or isinf(line.p95) else f"{line.p95:,.1f} ms"
    ratio = line.reached.partition("(")[2].partition(" x")[0]
    return f"{shown} ({ratio} x){_failures(line)}"


def _failures(line: Line) -> str:
    _, failed, rest = line.reached.rpartition(", ")
    return f", {rest.removesuffix(')')}" if failed else ""
