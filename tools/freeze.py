"""Print the versions installed here as a constraints file, without URLs."""

import subprocess
import sys


def main() -> None:
    """Print all packages except AkiDB itself and pip."""
    command = [sys.executable, "-m", "pip", "freeze", "--exclude-editable", "--exclude", "pip"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    print("# What `make` installs. Made by `make constraints`; ranges are in pyproject.toml.")
    for line in listed:
        if "==" in line:
            print(line)


if __name__ == "__main__":
    main()
