"""The npm packages of package-lock.json, and the TypeScript client as npm packs it.

They are installed once, also for several workers of pytest-xdist.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.processes import REPOSITORY_ROOT


HERE = Path(__file__).parent
CLIENT = REPOSITORY_ROOT / "clients" / "typescript"
PROGRAMS = HERE / "typescript"

PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
"""What is run finds the programs of the tests, which are next to their Python."""


def run_program(folder: Path, *command: str, **variables: str) -> str:
    """Return what the program printed. It must succeed."""
    environment = {**os.environ, "PATH": PATH, "NO_COLOR": "1", **variables}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    output = done.stdout + done.stderr
    assert 0 == done.returncode, output
    return output


def install_packages(folder: Path) -> Path:
    """Return the folder of node_modules, with the versions and hashes of the lock file."""
    if missing := [name for name in ("node", "npm") if not shutil.which(name)]:
        pytest.skip(f"needs {' and '.join(missing)}: apt install nodejs npm")

    def install() -> None:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, folder)
        run_program(folder, "npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")

    _run_once(folder, "packages", install)
    return folder


def build_client(folder: Path) -> Path:
    """Install the client that npm packs, and compile the programs that use it.

    In `programs` they use the package, and in `source_programs` the client's sources as they are.
    """

    def build() -> None:
        programs, source = folder / "programs", folder / "client"
        shutil.copytree(CLIENT, source, ignore=shutil.ignore_patterns("node_modules", "dist"))
        run_program(source, *find_tsc(folder))
        packed = run_program(source, "npm", "pack", "--silent", "--pack-destination", str(folder))
        installed = folder / "node_modules" / "otp-service-client"
        installed.mkdir()
        archive = folder / packed.split()[-1]
        run_program(installed, "tar", "-xf", str(archive), "--strip-components=1")
        shutil.copytree(PROGRAMS, programs)
        (programs / "login.ts").write_text(_read_example())
        run_program(programs, *find_tsc(folder))
        _copy_programs_for_sources(folder)

    _run_once(folder, "client", build)
    return folder


def _read_example() -> str:
    """Return the program in the client's README."""
    (example,) = re.findall(r"```ts\n(.*?)```", (CLIENT / "README.md").read_text(), re.DOTALL)
    return str(example)


def _copy_programs_for_sources(folder: Path) -> None:
    copies = folder / "source_programs"
    copies.mkdir()
    for program in (folder / "programs").glob("*.ts"):
        text = program.read_text().replace("otp-service-client", "../client/src/index.ts")
        (copies / program.name).write_text(text)


def find_tool(folder: Path, name: str) -> Path:
    """Return a command of the installed packages."""
    return folder / "node_modules" / ".bin" / name


def find_tsc(folder: Path) -> tuple[str, str]:
    """Return TypeScript's compiler, which does not check its own libraries: that is most of its work."""
    return str(find_tool(folder, "tsc")), "--skipDefaultLibCheck"


def _run_once(folder: Path, name: str, action: Callable[[], None]) -> None:
    """Run an action unless another process has done it; wait while one does."""
    folder.mkdir(exist_ok=True)
    done = folder / f"{name}.done"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            action()
            done.touch()
