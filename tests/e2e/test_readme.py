"""Runs the commands of the README and checks the links of the other top-level documents."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
LINK = re.compile(r"\]\((?!http)([^)#]+)\)")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def environment() -> dict[str, str]:
    return {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run_shell(script: str, cwd: Path) -> str:
    """Run a block, then stop the commands it left in the background."""
    with subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        status = process.wait(120)
        os.killpg(process.pid, signal.SIGTERM) if "&\n" in script else None
        output, errors = process.communicate(timeout=60)
    assert status == 0, errors
    return output


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which the Python example was run."""
    place = tmp_path_factory.mktemp("readme")
    for block in blocks("python"):
        done = subprocess.run(
            [sys.executable, "-c", block],
            cwd=place,
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "Vectors live in SQL." in done.stdout
        assert "Cats" not in done.stdout
    return place


def test_readme_commands_find_documents_of_example(place: Path) -> None:
    output = run_shell(blocks("sh")[0], place)
    assert "Vectors live in SQL." in output
    assert "aki-labs" not in output.splitlines()[0]


def test_server_responds_as_shown_in_readme(place: Path) -> None:
    output = run_shell(blocks("sh")[1].replace("8080", str(free_port())), place)
    assert "Cats sleep most of the day." in output
    assert "aki-labs" in output
    deadline = time.monotonic() + 30
    while (place / "data" / "akidb.sock").exists():
        assert time.monotonic() < deadline, "the server did not stop"
        time.sleep(0.1)


def test_all_mentioned_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"`make ([a-z-]+)`", (ROOT / document).read_text()))
        assert named <= targets, document


DOCUMENTS = sorted(p.relative_to(ROOT).as_posix() for p in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_and_mentioned_pages_exist(document: str) -> None:
    text = (ROOT / document).read_text()
    for target in LINK.findall(text):
        assert ((ROOT / document).parent / target).exists(), target
    for target in re.findall(r"`((?:docs|tests|src)/[\w./-]+)`", text):
        assert (ROOT / target).exists(), target


def test_every_decision_is_numbered_and_has_status() -> None:
    decisions = sorted((ROOT / "docs" / "adr").glob("*.md"))
    for number, decision in enumerate(decisions, start=1):
        text = decision.read_text()
        assert decision.name.startswith(f"{number:04d}-")
        assert text.startswith(f"# {number}. ")
        assert "\nStatus: " in text
