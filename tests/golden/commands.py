"""The output of the commands: the help of each, and `check` for several configurations."""

import argparse
import itertools
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from otp_service.cli import main
from otp_service.settings import (
    HashRate,
    find_errors,
    find_warnings,
    format_settings,
    load_settings,
    render_config,
)
from otp_service.settings.load import list_origins
from tests.golden.fixed_inputs import fixed_bytes
from tests.settings.conftest import CONFIG_FOLDER as SETTINGS
from tests.settings.conftest import NOW_MS, split_sections


HELP_COLUMNS = "80"
"""The width at which help is wrapped."""

HASH_RATE = HashRate("argon2-cffi", 250.0)


class _ParserBuilt(Exception):
    """Ends `main` as soon as its parser is built."""


def collect_help(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Return each command with its help, in the order in which they are listed.

    Wrapped lines are joined, and runs of spaces inside a line are one space.
    """
    parsers: list[argparse.ArgumentParser] = []

    def record_parser(parser: argparse.ArgumentParser, *_: Any) -> None:
        parsers.append(parser)
        raise _ParserBuilt

    monkeypatch.setenv("COLUMNS", HELP_COLUMNS)
    with monkeypatch.context() as patch, suppress(_ParserBuilt):
        patch.setattr(argparse.ArgumentParser, "parse_args", record_parser)
        main([])
    return [
        (f"{command.prog} --help", _hide_columns(command.format_help()))
        for command in _find_parsers(parsers[0])
    ]


def _hide_columns(text: str) -> str:
    """Return help without argparse's columns: Python 3.13 makes that of the commands wider."""
    return re.sub(r"(?<=\S) +", " ", re.sub(r"\n {8,}", " ", text))


def _find_parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in dict.fromkeys(action.choices.values()):
                yield from _find_parsers(inner)


def describe_configurations() -> list[tuple[str, str]]:
    """Return the output of `check` for each configuration that the settings' tests accept.

    The output has the report, the warnings and the refusals, at a fixed date, for four cores and a
    fixed speed of argon2. It excludes the checks of a live Redis and of the disk.
    """
    return [
        (path.name, describe_settings(path)) for path in sorted(SETTINGS.glob("working_*.toml"))
    ]


def describe_settings(path: Path) -> str:
    minimal = split_sections((SETTINGS / "working_least.toml").read_text(encoding="utf-8"))
    sections = split_sections(path.read_text(encoding="utf-8"))
    for name in re.findall(r"^([a-z]+) =", sections[""], re.MULTILINE):
        minimal.pop(name, None)
    configuration = "".join((minimal | sections).values())
    settings = load_settings(
        configuration,
        {},
        lambda name: (SETTINGS / name).read_text(),
        cores=4,
    )
    return "\n".join(
        (
            format_settings(settings, HASH_RATE, list_origins(configuration, {})),
            "",
            *(f"warning: {issue}" for issue in find_warnings(settings, NOW_MS)),
            *(f"refused: {issue}" for issue in find_errors(settings)),
        )
    )


def write_configuration(path: Path, redis_url: str) -> None:
    """Write the output of `init`, with secrets that are the same each time."""
    numbers = itertools.count()
    text, _ = render_config(
        tenant="shop",
        brand="Example",
        countries=["GB"],
        generate_token=lambda: urlsafe_b64encode(
            fixed_bytes(f"token {next(numbers)}", 32)
        ).decode()[:43],
        provider_url="http://127.0.0.1:1/messages",
    )
    path.touch(0o600)
    path.write_text(text.replace("redis://127.0.0.1:6379/0", redis_url))


def hide_machine(text: str, *paths: str) -> str:
    """Return the output of `check` without the paths, the cores and the speed of this machine."""
    for path in paths:
        text = text.replace(path, "<path>")
    text = re.sub(
        r"(?m)^(service\.workers|hash\.workers)( +)\d+  \(default\)$", r"\1\2<cores>", text
    )
    text = re.sub(r"(?m)^(argon2 at once +)\d+, in \d+ MiB$", r"\1<cores>, in <memory>", text)
    text = re.sub(r"(?m)^(offline attack +)[\d.e+-]+ \w+ for", r"\1<time> for", text)
    rate = r"\(\d+ hashes a second on a core by (argon2-cffi|libsodium)\)"
    return re.sub(rate, "(<speed> hashes a second on a core by <engine>)", text)
