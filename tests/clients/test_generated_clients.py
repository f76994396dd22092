"""Two generators make clients of openapi.yaml, which are type-checked and used for a login.

The programs are login.py and login.ts. Each tells a wrong code, a locked challenge and a refused limit
apart by the type of the reply.
"""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.npm_packages import HERE, find_tool, find_tsc, run_program
from tests.processes import REPOSITORY_ROOT, RunningService, run_dev


pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

DOCUMENT = REPOSITORY_ROOT / "openapi.yaml"

MYPY_SETTINGS = """\
[mypy]
strict = true
[mypy-generated_client.client]
ignore_errors = true
"""
"""client.py is the same for every document: 0.29.1 passes the arguments of `__exit__` on as objects."""

OUTCOMES = [
    "wrong code, 4 left",
    "verified",
    "otp.verified otp.attempted",
    "CooldownPerNumber refuses for some time",
    *(f"wrong code, {left} left" for left in (4, 3, 2, 1, 0)),
    "locked: 410",
    "wrong key",
]
"""What login.py and login.ts print."""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[RunningService]:
    """Return `otp-service dev`."""
    with run_dev(tmp_path / "data") as service:
        yield service


def run_login(service: RunningService, folder: Path, *command: str) -> list[str]:
    """Return the lines that the login program prints."""
    output = run_program(
        folder,
        *command,
        API_URL=f"http://127.0.0.1:{service.port}",
        ADMIN_URL=f"http://127.0.0.1:{service.admin_port}",
        API_KEY=service.keys["dev"],
    )
    return output.splitlines()


def test_a_python_client_is_made_and_logs_in(service: RunningService, tmp_path: Path) -> None:
    """openapi-python-client gives no warning, mypy no error, and each problem is a class."""
    generator = (sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning")
    made = run_program(
        tmp_path, *generator, "--path", str(DOCUMENT), "--meta", "none", "--output-path", "made"
    )
    folder = tmp_path / "client"
    shutil.move(tmp_path / "made", folder / "generated_client")
    shutil.copy(HERE / "login.py", folder)

    (folder / "mypy.ini").write_text(MYPY_SETTINGS)
    mypy = (sys.executable, "-m", "mypy", "--cache-dir", os.devnull, "login.py", "generated_client")
    checked = run_program(folder, *mypy)
    outcomes = run_login(service, folder, sys.executable, "login.py")

    assert "warning" not in made.lower()
    assert checked.startswith("Success")
    assert OUTCOMES == outcomes


def test_a_typescript_client_is_made_and_logs_in(service: RunningService, npm_folder: Path) -> None:
    """openapi-typescript gives no warning, tsc no error, and `type` narrows the problem."""
    folder = npm_folder / "generated"
    folder.mkdir()
    shutil.copy(HERE / "login.ts", folder)
    shutil.copy(HERE / "package.json", folder)  # it makes login.js a module

    generator = str(find_tool(npm_folder, "openapi-typescript"))
    made = run_program(folder, generator, str(DOCUMENT), "--output", "openapi.d.ts")
    options = ("--strict", "--noUncheckedIndexedAccess", "--exactOptionalPropertyTypes")
    target = ("--target", "es2023", "--module", "nodenext", "--lib", "es2023,dom")
    checked = run_program(folder, *find_tsc(npm_folder), *options, *target, "login.ts")
    outcomes = run_login(service, folder, "node", "login.js")

    assert "warn" not in made.lower()
    assert not checked
    assert OUTCOMES == outcomes
