"""Checks of blocks that are not run: data is parsed, files of other programs by these if they exist."""

import configparser
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import yaml  # type: ignore[import-untyped]

from akidb.domain import errors
from akidb.domain.filters.parsing import parse
from documentation import ROOT, Block

FILTERS = {"docs/filters.md", "docs/filter-cookbook.md"}
"""Pages whose JSON is filters."""
CODES = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "code")}
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
CADDY = shutil.which("caddy")
ANALYZE = shutil.which("systemd-analyze")
INSTRUCTIONS = {
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "RUN",
    "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
}  # fmt: skip
METRIC = re.compile(r"\bakidb_\w+")


def check_json(block: Block, _: Path) -> None:
    value = json.loads(block.code)
    if "code" in value:
        assert value["code"] in CODES
    elif block.page in FILTERS:
        parse(value, "filter")


def check_toml(block: Block, folder: Path) -> None:
    """Parse it; AkiDB itself reads a file of settings."""
    if "akidb" not in tomllib.loads(block.code):
        return
    (folder / "akidb.toml").write_text(block.code)
    program = [sys.executable, "-m", "akidb", "settings"]
    done = subprocess.run(program, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def check_yaml(block: Block, _: Path) -> None:
    assert yaml.safe_load(block.code)


def check_promql(block: Block, _: Path) -> None:
    """Look every metric up in the table of metrics, and count brackets."""
    page = (ROOT / "docs/observability.md").read_text()
    known = set(re.findall(r"^\| `(akidb_\w+)`", page, re.MULTILINE))
    for name in METRIC.findall(block.code):
        assert re.sub(r"_(bucket|sum|count)$", "", name) in known, name
    for pair in ("()", "[]", "{}"):
        assert block.code.count(pair[0]) == block.code.count(pair[1])


def check_unit(block: Block, folder: Path) -> None:
    """Parse an INI file; systemd checks a unit, whose first line is a comment with its path."""
    sections = configparser.RawConfigParser(strict=False, comment_prefixes=("#", ";"))
    sections.optionxform = str  # type: ignore[assignment,method-assign]
    sections.read_string(block.code)
    assert sections.sections()
    if re.search(r"^\[(Service|Timer)\]", block.code, re.MULTILINE):
        path = re.match(r"# (/\S+\.(?:service|timer))\n", block.code)
        assert path, "the first line of a unit is a comment with its path"
        verify_unit(block.code, folder / Path(path[1]).name)


def verify_unit(unit: str, path: Path) -> None:
    """Let systemd check a unit, whose programs and user need not exist."""
    for program in re.findall(r"^Exec\w+=[-+!:@]*(/\S+)", unit, re.MULTILINE):
        unit = unit.replace(program, "/bin/true")
    unit = re.sub(r"^User=.*", "User=daemon", unit, flags=re.MULTILINE)
    path.write_text(unit)
    if path.suffix == ".timer" and not path.with_suffix(".service").exists():
        path.with_suffix(".service").write_text("[Service]\nExecStart=/bin/true\n")
    if ANALYZE is not None:
        done = subprocess.run(
            [ANALYZE, "verify", "--man=no", path], capture_output=True, text=True, check=False
        )
        said = [line for line in done.stderr.splitlines() if path.name in line]
        assert not said, said
        assert done.returncode == 0, done.stderr


def check_nginx(block: Block, folder: Path) -> None:
    """Let nginx check it, with a certificate made here."""
    assert block.code.count("{") == block.code.count("}")
    if NGINX is None:
        return
    certificate = folder / "certificate.pem"
    key = f"-keyout {folder / 'key.pem'} -out {certificate}".split()
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost"]
    subprocess.run([*made, *key], check=True, capture_output=True)
    code = re.sub(r"(ssl_certificate) [^;]+;", rf"\1 {certificate};", block.code)
    code = re.sub(r"(ssl_certificate_key) [^;]+;", rf"\1 {folder / 'key.pem'};", code)
    (folder / "passwords").touch()
    code = re.sub(r"(auth_basic_user_file) [^;]+;", rf"\1 {folder / 'passwords'};", code)
    (folder / "nginx.conf").write_text(f"pid {folder}/pid;\nevents {{}}\nhttp {{\n{code}\n}}\n")
    done = subprocess.run(
        [NGINX, "-t", "-p", folder, "-c", folder / "nginx.conf", "-e", folder / "errors"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def check_caddy(block: Block, folder: Path) -> None:
    """Let Caddy check it."""
    assert block.code.count("{") == block.code.count("}")
    if CADDY is None:
        return
    (folder / "Caddyfile").write_text(block.code)
    program = [CADDY, "validate", "--config", str(folder / "Caddyfile")]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def check_dockerfile(block: Block, _: Path) -> None:
    """Check the names of the instructions, and that those in the form of a list are JSON."""
    check_instructions(block.code)


def check_instructions(text: str) -> None:
    joined = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE))
    for line in filter(str.strip, joined.splitlines()):
        assert line.split()[0] in INSTRUCTIONS, line
        if (listed := re.search(r"(?:^ENTRYPOINT|\bCMD) (\[.*)", line)) is not None:
            assert all(isinstance(word, str) for word in json.loads(listed[1])), line


CHECKS: dict[str, Callable[[Block, Path], None]] = {
    "json": check_json,
    "toml": check_toml,
    "yaml": check_yaml,
    "promql": check_promql,
    "ini": check_unit,
    "nginx": check_nginx,
    "caddyfile": check_caddy,
    "dockerfile": check_dockerfile,
}
