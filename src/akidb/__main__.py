"""`python -m akidb`: the command line."""

if __name__ == "__main__":
    import sys

    from akidb.cli.main import main

    sys.exit(main())
