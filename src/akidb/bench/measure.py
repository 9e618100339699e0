"""Timing, and the lines of a report."""

import gc
import time
from collections.abc import Callable, Sequence
from statistics import median

import msgspec

Work = Callable[[int], object]


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of the report."""

    suite: str
    work: str
    side: str
    """Who did it: `akidb`, `raw sqlite3`, `chroma`."""
    p50: float
    p95: float | None
    unit: str
    goal: str = ""
    """What `akidb` is to reach, as written in the specification."""


class Series(msgspec.Struct, frozen=True):
    """How long each call took."""

    seconds: list[float]

    @property
    def p50(self) -> float:
        """Median, in seconds."""
        return median(self.seconds)

    @property
    def p95(self) -> float:
        """95th percentile, in seconds."""
        return sorted(self.seconds)[int(len(self.seconds) * 0.95)]


def in_turns(
    sides: dict[str, Work], rounds: int, *, warm_up: int = 5, peer: tuple[str, Work] | None = None
) -> dict[str, Series]:
    """Time each side `rounds` times, one call of each in turn. The number of the round is passed in.

    A peer comes afterwards by itself, since it may go on working in threads of its own between calls.
    """
    taken = _take_turns(sides, rounds, warm_up)
    return taken if peer is None else taken | _take_turns(dict([peer]), rounds, warm_up)


def _take_turns(sides: dict[str, Work], rounds: int, warm_up: int) -> dict[str, Series]:
    taken: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(warm_up):
        for work in sides.values():
            work(number)
    gc.collect()
    gc.disable()
    try:
        for number in range(warm_up, warm_up + rounds):
            for side, work in sides.items():
                started = time.perf_counter()
                work(number)
                taken[side].append(time.perf_counter() - started)
    finally:
        gc.enable()
    return {side: Series(seconds) for side, seconds in taken.items()}


def latency_lines(suite: str, work: str, sides: dict[str, Series], goal: str) -> list[Line]:
    """Latencies in microseconds, AkiDB's first."""
    return [
        Line(
            suite=suite,
            work=work,
            side=side,
            p50=series.p50 * 1e6,
            p95=series.p95 * 1e6,
            unit="us",
            goal=goal if side.startswith("akidb") else "",
        )
        for side, series in sides.items()
    ]


def rate_lines(
    suite: str, work: str, sides: dict[str, Series], each: int, unit: str, goal: str
) -> list[Line]:
    """Rates, from the median and the 95th percentile of the time that `each` of them took."""
    return [
        Line(
            suite=suite,
            work=work,
            side=side,
            p50=each / series.p50,
            p95=each / series.p95,
            unit=unit,
            goal=goal if side.startswith("akidb") else "",
        )
        for side, series in sides.items()
    ]


def table(lines: Sequence[Line]) -> str:
    """The report for people."""
    head = ("suite", "work", "side", "p50", "p95", "unit", "goal")
    rows = [head] + [
        (line.suite, line.work, line.side, _number(line.p50), _number(line.p95), line.unit, line.goal)
        for line in lines
    ]
    widths = [max(len(row[at]) for row in rows) for at in range(len(head))]
    numeric = {3, 4}
    return "\n".join(
        "  ".join(
            cell.rjust(width) if at in numeric else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"
