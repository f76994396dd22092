"""Configurations from files: `working_*.toml` are accepted, `busted_*.toml` are refused.

Each file says only what it is about. The sections that it leaves out come from
`working_least.toml`, whose keys are worthless and say so.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from otp_service.settings import Fault, Settings, SettingsError, faults, load


HERE = Path(__file__).parent
NOW = int(datetime(2026, 11, 22, tzinfo=UTC).timestamp() * 1000)


def sections(text: str) -> dict[str, str]:
    """Split TOML at its top-level tables; what stands before the first is called ''."""
    found: dict[str, str] = {"": ""}
    name = ""
    for line in text.splitlines(keepends=True):
        if match := re.match(r"\[+([a-z]+)", line):
            name = match[1]
        found[name] = found.get(name, "") + line
    return found


@pytest.fixture
def now() -> int:
    """The instant at which these configurations are looked at."""
    return NOW


@pytest.fixture
def configuration() -> Callable[..., str]:
    """Return the text of a configuration, completed from the least one there is."""

    def completed(name: str = "working_least", *, extra: str = "") -> str:
        text = extra or (HERE / f"{name}.toml").read_text()
        least = sections((HERE / "working_least.toml").read_text())
        ours = sections(text)
        for given in re.findall(r"^([a-z]+) =", ours[""], re.MULTILINE):
            least.pop(given, None)
        return "".join((least | ours).values())

    return completed


@pytest.fixture
def read_file() -> Callable[[str], str]:
    """Read the secret files of these tests."""
    return lambda path: (HERE / path).read_text()


@pytest.fixture
def settings_of(configuration, read_file) -> Callable[..., Settings]:
    """Load a configuration, by its file's name or with extra sections given as text."""

    def loaded(name: str = "working_least", *, extra: str = "", environ=None) -> Settings:
        text = configuration(name, extra=extra)
        return load(text, environ or {}, read_file, cores=4)

    return loaded


@pytest.fixture
def refused(configuration, read_file, now) -> Callable[..., list[Fault]]:
    """Return all that is refused of a configuration, in reading or in checking it."""

    def found(
        name: str = "working_least", *, extra: str = "", environ: Mapping[str, str] | None = None
    ) -> list[Fault]:
        text = configuration(name, extra=extra)
        try:
            return faults(load(text, environ or {}, read_file, cores=4), now)
        except SettingsError as error:
            return error.faults

    return found
