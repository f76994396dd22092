"""The compose files of deploy/, as compose itself reads them: it needs no engine for this."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.processes import REPOSITORY_ROOT


FILES = ["deploy/compose.yaml", "deploy/development/compose.yaml"]


def find_compose() -> list[str]:
    """Return the command: Docker's plugin, or Debian's program. Skip the test without either."""
    docker = shutil.which("docker")
    if docker and not subprocess.run([docker, "compose", "version"], check=False).returncode:
        return [docker, "compose"]
    program = shutil.which("docker-compose")
    return [program] if program else pytest.skip("needs compose: apt install docker-compose")


@pytest.mark.parametrize("file", FILES)
def test_compose_accepts_the_file(file: str, tmp_path: Path) -> None:
    """With the variables that its comments name, and with no others."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "OTP_DEV_API_KEY": "0" * 64}

    checked = subprocess.run(
        [*find_compose(), "-f", str(REPOSITORY_ROOT / file), "config", "-q"],
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert 0 == checked.returncode, checked.stderr
