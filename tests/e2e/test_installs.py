"""Real installations: as the README says, in an environment without pip, and of a client alone."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODEL = "all-minilm-l6-v2"
README = (ROOT / "README.md").read_text()
(EXAMPLE,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
SHELL = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)[0]


class Environment:
    """A virtual environment without pip, as uv makes them, and a folder without models."""

    def __init__(self, folder: Path, *requirements: str) -> None:
        self._folder = folder / "environment"
        self.work = folder
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(self._folder)], check=True)
        self._pip("install", "--quiet", "--constraint", str(ROOT / "constraints.txt"), *requirements)

    def _pip(self, *words: str) -> str:
        command = [sys.executable, "-m", "pip", "--python", str(self._folder / "bin/python"), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def packages(self) -> set[str]:
        return {package["name"] for package in json.loads(self._pip("list", "--format", "json"))}

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        bin = self._folder / "bin"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AKIDB_")}
        environment["PATH"] = f"{bin}{os.pathsep}{environment['PATH']}"
        environment["AKIDB_MODELS_DIR"] = str(self.work / "models")
        return subprocess.run(
            command, cwd=self.work, env=environment, capture_output=True, text=True, check=False
        )

    def succeed(self, *command: str) -> str:
        done = self.run(*command)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.mark.slow
def test_start_of_the_readme_needs_only_the_plain_install_and_no_pip(tmp_path: Path) -> None:
    installed = Environment(tmp_path, str(ROOT))
    assert not {"pip", "psycopg"} & installed.packages()
    installed.succeed("akidb", "model", "pull", MODEL)
    assert "Vectors live in SQL." in installed.succeed("python", "-c", EXAMPLE)
    assert "Vectors live in SQL." in installed.succeed("bash", "-euo", "pipefail", "-c", SHELL)
    served = "akidb --data ./data serve --port 0 & trap 'kill %1; wait' EXIT"
    wait = "until akidb --data ./data ready; do sleep 1; done"
    assert "aki-labs" in installed.succeed(
        "bash", "-uc", f"{served}; {wait}; akidb --data ./data tenant list"
    )
    done = installed.run("akidb", "--url", "postgresql://nobody@127.0.0.1:1/none", "tenant", "list")
    assert done.stderr.endswith("pip install 'akidb[postgres]'\n")


@pytest.mark.slow
def test_client_is_three_small_packages_and_its_commands_some_more(tmp_path: Path) -> None:
    client = Environment(tmp_path, str(ROOT / "client"))
    assert client.packages() == {"akidb-client", "msgspec", "numpy", "platformdirs"}
    connect = "import akidb; list(akidb.connect({!r}).tenants)"
    assert "Connection refused" in client.run("python", "-c", connect.format("http://127.0.0.1:1")).stderr
    assert "pip install 'akidb[embedded]'" in client.run("python", "-c", connect.format("data")).stderr
    assert "pip install 'akidb-client[cli]'" in client.run("akidb", "ready").stderr
    (tmp_path / "with").mkdir()
    client = Environment(tmp_path / "with", f"{ROOT / 'client'}[cli]")
    assert len(client.packages()) < 20
    done = client.run("akidb", "--url", "http://127.0.0.1:1", "ready")
    assert (done.returncode, "Connection refused" in done.stderr) == (1, True)
