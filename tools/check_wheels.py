"""Check that every runtime dependency has a wheel for each supported platform."""

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLATFORMS = {
    "Linux x86-64": ["manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux2014_x86_64"],
    "Linux aarch64": ["manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64"],
    "macOS arm64": [
        "macosx_14_0_arm64",
        "macosx_11_0_arm64",
        "macosx_14_0_universal2",
        "macosx_13_0_universal2",
    ],
}
PYTHONS = ("3.11", "3.13")


def main() -> int:
    """Dry-run the installer for each platform; return 1 if a wheel is missing."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    # Its marker says where it has a wheel; pip would evaluate it for the current machine.
    needed = [line for line in project["dependencies"] if not line.startswith("pysqlite3")]
    needed += project["optional-dependencies"]["postgres"] + project["optional-dependencies"]["arrow"]
    missing = 0
    for name, platforms in PLATFORMS.items():
        for python in PYTHONS:
            reason = _fault(needed, platforms, python)
            print(f"{name}, Python {python}: {reason or 'every dependency has a wheel'}")
            missing += reason is not None
    return 1 if missing else 0


def _fault(needed: list[str], platforms: list[str], python: str) -> str | None:
    with tempfile.TemporaryDirectory() as target:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--target", target]
        command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", python]
        command += [f"--platform={platform}" for platform in platforms]
        command += ["--constraint", str(ROOT / "constraints.txt"), *needed]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stderr.strip().splitlines()[-1]


if __name__ == "__main__":
    sys.exit(main())
