"""Configurations from files: `working_*.toml` are accepted, `busted_*.toml` are refused.

Each file says only what it is about. The sections that it leaves out come from
`working_least.toml`, whose keys are worthless and say so.
"""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest

from otp_service.settings import (
    ConfigIssue,
    Settings,
    SettingsError,
    find_errors,
    find_tolerated_errors,
    load_settings,
)


CONFIG_FOLDER = Path(__file__).parent
NOW_MS = int(datetime(2026, 11, 22, tzinfo=UTC).timestamp() * 1000)


def split_sections(text: str) -> dict[str, str]:
    """Split TOML at its top-level tables; the text before the first table has the key ''."""
    found: dict[str, str] = {"": ""}
    name = ""
    for line in text.splitlines(keepends=True):
        if match := re.match(r"\[+([a-z]+)", line):
            name = match[1]
        found[name] = found.get(name, "") + line
    return found


@pytest.fixture
def now_ms() -> int:
    """The instant at which these configurations are checked."""
    return NOW_MS


@pytest.fixture
def complete_config() -> Callable[..., str]:
    """Return the text of a configuration, completed from `working_least.toml`."""

    def complete_text(name: str = "working_least", *, extra: str = "") -> str:
        text = extra or (CONFIG_FOLDER / f"{name}.toml").read_text()
        least = split_sections((CONFIG_FOLDER / "working_least.toml").read_text())
        ours = split_sections(text)
        for given in re.findall(r"^([a-z]+) =", ours[""], re.MULTILINE):
            least.pop(given, None)
        return "".join((least | ours).values())

    return complete_text


@pytest.fixture
def read_file() -> Callable[[str], str]:
    """Read a secret file of these tests."""
    return lambda path: (CONFIG_FOLDER / path).read_text()


@pytest.fixture
def load_config(complete_config, read_file) -> Callable[..., Settings]:
    """Load a configuration, by its file's name or with extra sections given as text."""

    def load_text(name: str = "working_least", *, extra: str = "", environ=None) -> Settings:
        text = complete_config(name, extra=extra)
        return load_settings(text, environ or {}, read_file, cores=4)

    return load_text


@pytest.fixture
def find_config_errors(complete_config, read_file) -> Callable[..., list[ConfigIssue]]:
    """Return all errors of a configuration, of reading or of checking it."""

    def find_all(
        name: str = "working_least", *, extra: str = "", environ: Mapping[str, str] | None = None
    ) -> list[ConfigIssue]:
        text = complete_config(name, extra=extra)
        try:
            settings = load_settings(text, environ or {}, read_file, cores=4)
            return [*find_errors(settings), *find_tolerated_errors(settings, NOW_MS)]
        except SettingsError as error:
            return error.issues

    return find_all
