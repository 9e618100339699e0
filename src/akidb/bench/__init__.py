"""`akidb bench`: measures AkiDB on this machine, next to the raw driver and a peer in the same run.

Reports medians and 95th percentiles; compared sides alternate, since machines are noisy. It may import
everything; only the command line imports it.
"""


def main(argv: list[str]) -> int:
    """Run the suites named in `argv`, or all but `search`; return the exit status."""
    if argv[:1] == ["search"]:
        from akidb.bench.search.command import main as search

        return search(argv[1:])
    from akidb.bench.run import run

    return run(argv)
