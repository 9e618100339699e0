"""`akidb bench`: measures AkiDB on this machine, next to the raw driver and a peer in the same run.

Reports medians and 95th percentiles; compared sides alternate, since machines are noisy. It may import
everything; only the command line imports it.
"""


def main(argv: list[str]) -> int:
    """Run the suites named in `argv`, or all of them; return the exit status."""
    from akidb.bench.run import run

    return run(argv)
