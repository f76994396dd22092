"""What every command uses: descriptions, errors, times, output. Needs neither service nor Redis."""

import argparse
import inspect
import json
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, TypeAlias

import msgspec

from otp_service.core.timestamps import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, parse_rfc3339


DEFAULT_CONFIG_PATH = Path("otp.toml")

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001
"""argparse has no public name for it."""

CommandHandler = Callable[[argparse.Namespace], int]


class CommandError(Exception):
    """Ends a command with a sentence that names what is wrong and what to do; exit code 1."""

    exit_code: ClassVar[int] = 1


class UsageError(CommandError):
    """Ends a command whose exit code 1 means that it has found something; exit code 2."""

    exit_code = 2


def add_command(  # noqa: PLR0913  # each is a trait of one command
    subparsers: Subparsers,
    name: str,
    run: CommandHandler,
    *,
    help_source: object = None,
    takes_config: bool = True,
    takes_dev_folder: bool = False,
) -> argparse.ArgumentParser:
    """Add a command and return its parser, to add arguments to.

    Its help is the docstring of `run`, or of `help_source` if given; the first line is its entry in
    the list of commands. With `takes_config` it has the option --config, and with
    `takes_dev_folder` its help says that the data folder of `dev` is accepted too.
    """
    text = inspect.getdoc(help_source or run) or ""
    brief = text.partition("\n")[0].rstrip(".")
    parser = subparsers.add_parser(
        name,
        help=brief[:1].lower() + brief[1:],
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    if takes_config:
        text, path = "file with the settings (otp.toml)", DEFAULT_CONFIG_PATH
        if takes_dev_folder:
            text += ", or the data folder of 'make run' and 'otp-service dev' (.otp)"
        parser.add_argument("--config", type=Path, default=path, help=text)
    return parser


def format_json(value: object, indent: int | None = None) -> str:
    """Return JSON in ASCII, so that no value contains a line separator (R70)."""
    separators = (",", ":") if indent is None else None
    return json.dumps(msgspec.to_builtins(value), indent=indent, separators=separators)


def format_list(findings: Iterable[object]) -> str:
    return "\n".join(f"  {finding}" for finding in findings)


_UNIT_MS = {"s": SECOND_MS, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}
_DURATION_PATTERN = re.compile(r"([0-9]{1,6})([smhd])")


def parse_duration(text: str) -> int:
    """Return the milliseconds of `90s`, `30m`, `6h` or `2d`. Raises ValueError for any other text."""
    match = _DURATION_PATTERN.fullmatch(text)
    if match is None:
        raise ValueError("no duration")
    return int(match[1]) * _UNIT_MS[match[2]]


def parse_instant(text: str, now_ms: int) -> int:
    """Return milliseconds since 1970 of `24h` (ago) or of an instant in RFC 3339 with its zone.

    Raises CommandError for any other text.
    """
    with suppress(ValueError):
        return now_ms - parse_duration(text)
    with suppress(ValueError):
        return parse_rfc3339(text)
    text = "invalid time: write one like '24h' (s, m, h or d ago) or '2026-11-24T09:00:00Z'."
    raise CommandError(text)
