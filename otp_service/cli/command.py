"""How commands are described, read times, and fail. Nothing here needs the service or Redis."""

import argparse
import inspect
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ClassVar, TypeAlias

import msgspec

from otp_service.core.timestamps import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, parse_rfc3339


DEFAULT_CONFIG_PATH = Path("otp.toml")

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001
"""The only name that argparse has for it."""

CommandHandler = Callable[[argparse.Namespace], int]


class CommandError(Exception):
    """Ends a command with one sentence: what is wrong, and what to do."""

    exit_code: ClassVar[int] = 1


class UsageError(CommandError):
    """The same, where 1 would mean that the command has found something."""

    exit_code = 2


def add_command(
    subparsers: Subparsers,
    name: str,
    run: CommandHandler,
    *,
    help_source: object = None,
    takes_config: bool = True,
) -> argparse.ArgumentParser:
    """Add a command whose help is the docstring of `run` or of `about`; its first line is the brief.

    With `config`, the command is told the file with the settings.
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
        parser.add_argument(
            "--config",
            type=Path,
            default=DEFAULT_CONFIG_PATH,
            help="the file with the settings (otp.toml)",
        )
    return parser


def escape_unprintable(text: str) -> str:
    """Return one line that does nothing to a terminal: what cannot be seen stands there escaped."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def format_json(value: object, indent: int | None = None) -> str:
    """Return something for programs, in ASCII: no value is taken for the end of a line (R70)."""
    separators = (",", ":") if indent is None else None
    return json.dumps(msgspec.to_builtins(value), indent=indent, separators=separators)


def format_list(findings: Iterable[object]) -> str:
    """Return findings one a line, indented."""
    return "\n".join(f"  {finding}" for finding in findings)


_UNIT_MS = {"s": SECOND_MS, "m": MINUTE_MS, "h": HOUR_MS, "d": DAY_MS}
_AGO_PATTERN = re.compile(r"([0-9]{1,6})([smhd])")


def parse_instant(text: str, now_ms: int) -> int:
    """Return the instant that `24h` (ago) or RFC 3339 means, in milliseconds."""
    if ago := _AGO_PATTERN.fullmatch(text):
        return now_ms - int(ago[1]) * _UNIT_MS[ago[2]]
    try:
        return parse_rfc3339(text)
    except ValueError:
        pass
    raise CommandError("a time is like '24h' (s, m, h or d ago) or '2026-11-24T09:00:00Z'.")
