"""The files for deployments: units of systemd, proxies, the container image."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from akidb.api.server import GRACE_SECONDS
from documentation import ROOT, Block
from page_checks import check_caddy, check_instructions, check_nginx, check_unit

DEPLOY = ROOT / "deploy"
BUILD = [sys.executable, str(ROOT / "tools/build_image.py")]


def block(name: str) -> Block:
    return Block(f"deploy/{name}", 1, "", (DEPLOY / name).read_text())


@pytest.mark.parametrize("name", ["akidb-backup.service", "akidb-backup.timer", "akidb.service"])
def test_systemd_accepts_unit(name: str, tmp_path: Path) -> None:
    check_unit(block(name), tmp_path)


def test_service_waits_longer_than_server_does() -> None:
    found = re.search(r"^TimeoutStopSec=(\d+)$", (DEPLOY / "akidb.service").read_text(), re.MULTILINE)
    assert found
    assert int(found[1]) >= GRACE_SECONDS + 30


def test_proxies_accept_configuration(tmp_path: Path) -> None:
    check_nginx(block("nginx.conf"), tmp_path)
    check_caddy(block("Caddyfile"), tmp_path)


def test_image_names_no_index_and_runs_as_other_user_than_root() -> None:
    text = (ROOT / "Dockerfile").read_text()
    check_instructions(text)
    assert "://" not in text
    final = text.rpartition("\nFROM ")[2]
    assert re.search(r"^USER [1-9]\d*$", final, re.MULTILINE)
    assert "VOLUME /data" in final
    assert "PIP_" not in final


def test_wheel_is_built_from_files_that_image_copies(tmp_path: Path) -> None:
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    ignored = (ROOT / ".dockerignore").read_text()
    for name in " ".join(copied).split():
        assert f"\n!{name}\n" in ignored
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("dist/akidb-*.whl"))


def test_missing_builder_is_named(tmp_path: Path) -> None:
    done = subprocess.run(BUILD, env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "install docker, podman or buildah" in done.stderr


@pytest.mark.image
@pytest.mark.slow
def test_image_is_built_and_ready() -> None:
    builder = next((n for n in ("docker", "podman") if shutil.which(n) and _works(n)), None)
    assert builder is not None, "start docker or podman: `make test-image` builds and runs the image"
    subprocess.run(BUILD, check=True)
    run = [builder, "run", "--detach", "--rm", "akidb"]
    container = subprocess.run(run, check=True, capture_output=True, text=True).stdout.strip()
    inside = [builder, "exec", container]
    try:
        wait = "for i in $(seq 60); do akidb ready && exit 0; sleep 1; done; exit 1"
        subprocess.run([*inside, "sh", "-c", wait], check=True)
        subprocess.run([*inside, "akidb", "embed", "a text"], check=True)
        user = subprocess.run([*inside, "id", "-u"], check=True, capture_output=True, text=True).stdout
        assert user.strip() == "10001"
    finally:
        subprocess.run([builder, "stop", container], check=True)


def _works(name: str) -> bool:
    return subprocess.run([name, "info"], capture_output=True, check=False).returncode == 0
