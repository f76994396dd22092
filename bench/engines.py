"""What a measured service runs: its code, and which argon2 engine is there for it to choose."""

import importlib.util
import os
import sys
from pathlib import Path
from typing import Final

import msgspec

from bench.options import Options


REPOSITORY: Final = Path(__file__).parents[1]

WHEEL, LIBSODIUM = "argon2-cffi wheel", "PyNaCl"

PACKAGE_WITHOUT_LIBSODIUM = 'raise ImportError("hidden by the bench")\n'


class Program(msgspec.Struct, frozen=True):
    """A folder with the package `otp_service`, and folders whose libraries come before others."""

    code: Path = REPOSITORY
    libraries: tuple[Path, ...] = ()

    def build_command(self, *arguments: str) -> list[str]:
        return [sys.executable, *arguments]

    def build_environ(self) -> dict[str, str]:
        """Return the environment of this process for the program, without settings of the service."""
        environ = {name: value for name, value in os.environ.items() if name[:4] != "OTP_"}
        return environ | {"PYTHONPATH": os.pathsep.join(map(str, (*self.libraries, self.code)))}


def list_programs(options: Options, folder: Path) -> dict[str, Program]:
    """Return the program of each engine by its name, that of the wheel first.

    The service chooses the fastest engine, so the others are hidden from it. `folder` is for that.
    """
    hidden = folder / "without_libsodium"
    (hidden / "nacl").mkdir(parents=True)
    (hidden / "nacl" / "__init__.py").write_text(PACKAGE_WITHOUT_LIBSODIUM, encoding="utf-8")
    programs = {WHEEL: Program(libraries=(hidden,))}
    if importlib.util.find_spec("nacl"):
        programs[LIBSODIUM] = Program()
    for name, build in options.engines.items():
        programs[name] = Program(libraries=(hidden, build))
    return programs
