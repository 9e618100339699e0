"""Startup time: `akidb --help` and `import akidb`."""

import subprocess
import sys

from akidb.bench.measure import Line, in_turns

SUITE = "startup"
HELP_MS = 180


def run() -> list[Line]:
    """Return the results of this suite."""
    sides = {
        "akidb --help": [sys.executable, "-m", "akidb", "--help"],
        "import akidb": [sys.executable, "-c", "import akidb"],
        "python -c pass": [sys.executable, "-c", "pass"],
    }
    taken = in_turns(
        {
            side: lambda _, command=command: subprocess.run(command, check=True, capture_output=True)  # type: ignore[misc]
            for side, command in sides.items()
        },
        20,
        warm_up=2,
    )
    return [
        Line(
            suite=SUITE,
            work="start a process",
            side=side,
            p50=series.p50 * 1e3,
            p95=series.p95 * 1e3,
            unit="ms",
            goal=f"<= {HELP_MS} ms" if side == "akidb --help" else "",
            reached="" if side != "akidb --help" else "yes" if series.p50 * 1e3 <= HELP_MS else "no",
        )
        for side, series in taken.items()
    ]
