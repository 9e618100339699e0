"""Shell completion."""

import os
import subprocess
import sys
from collections.abc import Mapping

import pytest


def _ask(variables: Mapping[str, str]) -> str:
    ended = subprocess.run(
        [sys.executable, "-m", "akidb"],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return ended.stdout


@pytest.mark.parametrize(
    ("shell", "mark"), [("bash", "complete -o"), ("zsh", "#compdef"), ("fish", "complete")]
)
def test_completion_script_for_each_shell(shell: str, mark: str) -> None:
    script = _ask({"_AKIDB_COMPLETE": f"source_{shell}"})
    assert mark in script
    assert "akidb" in script


def test_commands_and_states_are_completed() -> None:
    groups = _ask({"_AKIDB_COMPLETE": "complete_bash", "COMP_WORDS": "akidb t", "COMP_CWORD": "1"})
    assert groups.split() == ["tenant"]
    states = _ask(
        {
            "_AKIDB_COMPLETE": "complete_bash",
            "COMP_WORDS": "akidb tenant list --status s",
            "COMP_CWORD": "4",
        }
    )
    assert states.split() == ["suspended"]
