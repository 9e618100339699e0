"""Timing, and the lines of the report."""

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
    """The side measured: `akidb`, `raw sqlite3`, `chroma`."""
    p50: float
    p95: float | None
    unit: str
    goal: str = ""
    """The goal for `akidb`."""
    reached: str = ""
    """Whether this run reached it, with the figure if the goal is relative."""


class Series(msgspec.Struct, frozen=True):
    """The times of the calls."""

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
    """Time each side `rounds` times, alternating call by call. The round number is passed in.

    A peer runs alone afterwards, since its own threads may keep working between calls.
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


Figures = tuple[float, float]
"""Median and 95th percentile."""


class Goal(msgspec.Struct, frozen=True):
    """A bound on AkiDB's median: absolute, or (with `beside`) relative to another side's of the same run."""

    text: str
    bound: float
    p95_bound: float | None = None
    """A bound on the 95th percentile too."""
    beside: str = ""
    share: bool = False
    """Whether the bound is a share of the other side's figure, rather than an allowed addition to it."""
    at_least: bool = False
    of_p95: bool = False
    """Whether it applies only to the 95th percentile."""

    def judge(self, own: Figures, others: dict[str, Figures]) -> str:
        """Return whether the goal is reached, as text; figures are in the unit of the bound."""
        place = 1 if self.of_p95 else 0
        measured, shown = own[place], ""
        if self.beside:
            other = others[self.beside][place]
            measured = own[place] / other if self.share else own[place] - other
            shown = f" ({measured:.2f})" if self.share else f" ({measured:+,.0f})"
        met = measured >= self.bound if self.at_least else measured <= self.bound
        if self.p95_bound is not None:
            met = met and own[1] <= self.p95_bound
        return ("yes" if met else "no") + shown


def at_most(microseconds: float, p95: float | None = None) -> Goal:
    """A latency."""
    more = "" if p95 is None else f", p95 <= {p95:,.0f} us"
    return Goal(f"<= {microseconds:,.0f} us{more}", microseconds, p95)


def on_top_of(side: str, microseconds: float) -> Goal:
    """Bound the addition to another side's latency."""
    return Goal(f"<= {side} + {microseconds:,.0f} us", microseconds, beside=side)


def times(side: str, factor: float, *, p95: bool = False) -> Goal:
    """A multiple of another side's latency, at the median or at the 95th percentile."""
    text = f"{'p95 ' if p95 else ''}<= {factor:g} x {side}"
    return Goal(text, factor, beside=side, share=True, of_p95=p95)


def at_least(rate: float) -> Goal:
    """A rate."""
    return Goal(f">= {rate:,.0f}", rate, at_least=True)


def share_of(side: str, share: float) -> Goal:
    """A share of another side's rate."""
    return Goal(f">= {share:g} of {side}", share, beside=side, share=True, at_least=True)


def latency_lines(suite: str, work: str, sides: dict[str, Series], goal: Goal | None = None) -> list[Line]:
    """Latencies in microseconds, AkiDB's first."""
    figures = {side: (series.p50 * 1e6, series.p95 * 1e6) for side, series in sides.items()}
    return _lines(suite, work, figures, "us", goal)


def rate_lines(
    suite: str, work: str, sides: dict[str, Series], each: int, unit: str, goal: Goal | None
) -> list[Line]:
    """Rates, AkiDB's first, from the median and 95th percentile of the time of `each` items."""
    figures = {side: (each / series.p50, each / series.p95) for side, series in sides.items()}
    return _lines(suite, work, figures, unit, goal)


def _lines(suite: str, work: str, figures: dict[str, Figures], unit: str, goal: Goal | None) -> list[Line]:
    lines = []
    ours = next(iter(figures))
    for side, (p50, p95) in figures.items():
        judged = goal if side == ours else None
        lines.append(
            Line(
                suite=suite,
                work=work,
                side=side,
                p50=p50,
                p95=p95,
                unit=unit,
                goal="" if judged is None else judged.text,
                reached="" if judged is None else judged.judge((p50, p95), figures),
            )
        )
    return lines


def table(lines: Sequence[Line]) -> str:
    """Return the human-readable report."""
    head = ("suite", "work", "side", "p50", "p95", "unit", "goal", "reached")
    rows = [head] + [
        (
            line.suite,
            line.work,
            line.side,
            _number(line.p50),
            _number(line.p95),
            line.unit,
            line.goal,
            line.reached,
        )
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
