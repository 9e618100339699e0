"""Build the container image `akidb` with the first builder that works; `make image` runs this."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BUILDERS = ("docker", "podman", "buildah")


def builder() -> str | None:
    """Return the first builder that works, None if there is none; say why the others do not."""
    for name in BUILDERS:
        if shutil.which(name) is None:
            print(f"{name}: not installed", file=sys.stderr)
            continue
        done = subprocess.run([name, "info"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return name
        lines = (done.stderr or done.stdout).strip().splitlines()
        print(f"{name}: does not work: {lines[-1] if lines else done.returncode}", file=sys.stderr)
    return None


def main() -> int:
    """Build it, with the indexes that pip is told by its environment; return the exit status."""
    name = builder()
    if name is None:
        print("no image was built: install docker, podman or buildah", file=sys.stderr)
        return 1
    # An argument without a value is taken from the environment, so that no address is on a command line.
    indexes = [one for one in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL") if os.environ.get(one)]
    given = [word for one in indexes for word in ("--build-arg", one)]
    return subprocess.run([name, "build", *given, "--tag", "akidb", str(ROOT)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
