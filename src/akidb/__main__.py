"""`python -m akidb`: the command line."""

if __name__ == "__main__":
    import sys

    try:
        from akidb.cli.main import main

        status = main()
    except KeyboardInterrupt:  # before `main` could see to it
        status = 130
    sys.exit(status)
