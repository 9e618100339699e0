"""Blocks of code in Markdown pages, and a session that runs those of one page in order."""

import ast
import contextlib
import doctest
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[1]
DEADLINE_SECONDS = 120
SHELL = {"sh", "bash", "console"}
JAVASCRIPT = {"javascript", "js"}
RUN = SHELL | JAVASCRIPT | {"python"}

PYTHON = """
import ast, asyncio, contextlib, io, json, sys, traceback
space = {"__name__": "__main__"}
answers = sys.stdout
for line in sys.stdin:
    shown, error = io.StringIO(), ""
    with contextlib.redirect_stdout(shown):
        try:
            code = compile(json.loads(line), "block", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            made = eval(code, space)
            if asyncio.iscoroutine(made):
                asyncio.run(made)
        except BaseException:
            error = traceback.format_exc()
    print(json.dumps([shown.getvalue(), error]), file=answers, flush=True)
"""
"""Runs one block after the other in one namespace, as a notebook does."""

WRAPPED = """
trap 'status=$?; set +eu; kill $(jobs -p) 2>/dev/null; wait; echo $status >&{fd}' EXIT
trap 'exit 0' TERM
{script}
trap 'set +eu; kill $(jobs -p) 2>/dev/null; wait' EXIT
echo 0 >&{fd}
wait
"""
"""Tells the status as soon as the block ends, and keeps its background jobs until it is told to stop."""

MARK = "\x1e"


@dataclass(frozen=True)
class Block:
    """A block of code; `follows` is true for one right after a block that runs."""

    page: str
    line: int
    language: str
    code: str
    follows: bool = False

    @property
    def name(self) -> tuple[str, str]:
        """The page and the first line of code, which name the block in tests."""
        return self.page, self.code.partition("\n")[0].strip()

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks_of(page: str) -> list[Block]:
    """Return all blocks of a page, fenced or indented, in lists and quotes too."""
    blocks: list[Block] = []
    end = -9
    for token in MarkdownIt().parse((ROOT / page).read_text()):
        if token.type in {"fence", "code_block"} and token.map is not None:
            language = token.info.partition(" ")[0] if token.type == "fence" else "indented"
            near = token.map[0] - end <= 3 and bool(blocks) and blocks[-1].language in RUN
            blocks.append(Block(page, token.map[0] + 1, language, token.content, near))
            end = token.map[1]
    return blocks


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def agrees(shown: str, output: str) -> bool:
    """Return whether a page shows this output: `...` stands for anything, and white space is all alike."""
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return doctest.OutputChecker().check_output(shown.strip() + "\n", output.strip() + "\n", flags)


class PageSession:
    """Runs blocks in a directory of their own: Python in one process, each block of the shell in its own.

    Jobs in the background live until a later block starts others, or the session ends. In each block the port
    8080 is a free one, and `all-minilm-l6-v2` the model `hash`, which loads at once, unless `real_model`.
    """

    def __init__(self, folder: Path, *, real_model: bool = False, postgres_url: str = "") -> None:
        from akidb.settings import Settings

        self.folder = folder
        self._real_model = real_model
        self._postgres_url = postgres_url
        self._ports = {"8080": str(free_port())}
        self._python: subprocess.Popen[str] | None = None
        self._jobs: subprocess.Popen[bytes] | None = None
        binaries = Path(sys.executable).parent
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("AKIDB_")},
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "AKIDB_MODELS_DIR": str(Settings().models_path),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_jobs()
        if self._python is not None:
            self._python.communicate()

    def run(self, block: Block, before: str = "") -> str:
        """Run a block, after the code `before` in its language, and return what it prints."""
        code = self._adapted(block.code)
        if block.language == "python":
            return self._run_python(f"{before}\n{code}")
        if block.language == "console":
            return self._run_console(code, before)
        if block.language in JAVASCRIPT:
            return self._run_shell(f"{before}\nnode --input-type=module - <<'END'\n{code}\nEND\n")
        return self._run_shell(f"set -euo pipefail\n{before}\n{code}")

    def _adapted(self, code: str) -> str:
        for written, used in self._ports.items():
            code = code.replace(written, used)
        if not self._real_model:
            code = code.replace("all-minilm-l6-v2", "hash")
        if self._postgres_url:
            code = re.sub(r"postgresql://[^\s\"']+", lambda _: self._postgres_url, code)
        return code

    def _run_python(self, code: str) -> str:
        if self._python is None:
            self._python = subprocess.Popen(
                [sys.executable, "-c", PYTHON],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._python.stdin is not None
        assert self._python.stdout is not None
        guard = threading.Timer(DEADLINE_SECONDS, self._python.kill)
        guard.start()
        try:
            self._python.stdin.write(json.dumps(code) + "\n")
            self._python.stdin.flush()
            answer = self._python.stdout.readline()
        finally:
            guard.cancel()
        assert answer, "Python ended, or took too long"
        output, error = json.loads(answer)
        assert not error, error
        return str(output)

    def _run_shell(self, script: str) -> str:
        if re.search(r"&\s*$", script, re.MULTILINE):
            self._stop_jobs()
        answers, told = os.pipe()
        printed = self.folder.parent / f"{self.folder.name}.output"
        with printed.open("wb") as sink:
            process = subprocess.Popen(
                ["bash", "-c", WRAPPED.format(script=script, fd=told)],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                pass_fds=[told],
                start_new_session=True,
            )
        os.close(told)
        try:
            ready, _, _ = select.select([answers], [], [], DEADLINE_SECONDS)
            status = os.read(answers, 16).decode().strip() if ready else "no end"
        finally:
            os.close(answers)
            if re.search(r"&\s*$", script, re.MULTILINE):
                self._jobs = process
            else:
                _end(process)
        output = printed.read_text()
        assert status == "0", f"{output}\nstatus: {status}"
        return output

    def _run_console(self, code: str, before: str) -> str:
        """Run the commands after `$`, and check what is shown below each; one that shows nothing succeeds."""
        steps = [step.split("\n", 1) for step in re.split(r"^\$ ", code, flags=re.MULTILINE)[1:]]
        marked = "".join(f"\n{command}\nprintf '{MARK}%s\\n' $?\n" for command, *_ in steps)
        output = self._run_shell(f"{before}\nprintf '{MARK}0\\n'\n{marked}")
        parts = re.split(rf"{MARK}(\d+)\n", output)[2:]
        for (command, *rest), said, status in zip(steps, parts[::2], parts[1::2], strict=False):
            shown = self._adapted("".join(rest)).strip()
            assert agrees(shown, said) if shown else status == "0", f"$ {command}\n{said}status: {status}"
        return output

    def _stop_jobs(self) -> None:
        if self._jobs is not None:
            _end(self._jobs)
            self._jobs = None


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise


def is_python(code: str) -> bool:
    """Return whether the code compiles, with `await` at the top as in a notebook."""
    compile(code, "block", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    return True
