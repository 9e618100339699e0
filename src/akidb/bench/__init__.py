"""`akidb bench`: what AkiDB costs on this machine, beside the raw driver and a peer in the same run.

Medians and 95th percentiles; the two sides of a comparison take turns, since machines are noisy. It may
import everything; nothing imports it but the command line.
"""


def main(argv: list[str]) -> int:
    """Run the suites named in `argv`, or all of them; gives the exit status."""
    from akidb.bench.run import run

    return run(argv)
