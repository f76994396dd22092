"""What commands share: how they are described and fail, their settings, numbers that are typed."""

import argparse
import inspect
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeAlias

from otp_service.core.errors import InvalidPhoneNumber, NumberNotAllowed
from otp_service.core.phone import PhoneNumber, parse
from otp_service.settings import Settings, SettingsError, faults, load


CONFIG = Path("otp.toml")

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001
"""The only name that argparse has for it."""

Run = Callable[[argparse.Namespace], int]


class CommandError(Exception):
    """Ends a command with one sentence: what is wrong, and what to do."""


def command(
    subparsers: Subparsers, name: str, run: Run, *, about: object = None, config: bool = True
) -> argparse.ArgumentParser:
    """Add a command whose help is the docstring of `run` or of `about`; its first line is the brief.

    With `config`, the command is told the file with the settings.
    """
    text = inspect.getdoc(about or run) or ""
    brief = text.partition("\n")[0].rstrip(".")
    parser = subparsers.add_parser(
        name,
        help=brief[:1].lower() + brief[1:],
        description=text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    if config:
        parser.add_argument(
            "--config", type=Path, default=CONFIG, help="the file with the settings (otp.toml)"
        )
    return parser


def read_settings(path: Path) -> Settings:
    """Return the settings, unsafe or not. CommandError names everything that cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise CommandError(
            f"cannot read {path}: {reason}. Write one with 'otp-service init'."
        ) from error
    try:
        return load(text, os.environ, lambda name: Path(name).read_text("utf-8"), cores=cores())
    except SettingsError as error:
        raise CommandError(f"{path} cannot be used:\n{listed(error.faults)}") from error


def safe_settings(path: Path) -> Settings:
    """Return the settings, or refuse with every fault and its remedy."""
    settings = read_settings(path)
    if found := faults(settings, time.time_ns() // 1_000_000):
        raise CommandError(f"{path} is not safe to run with:\n{listed(found)}")
    return settings


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_lines() -> Iterator[tuple[int, str]]:
    """Give the lines of standard input that are not empty, with their places."""
    if sys.stdin and sys.stdin.isatty():
        print("Numbers like +447400123456, one a line; Ctrl-D ends them.", file=sys.stderr)
    for place, line in enumerate(sys.stdin or (), start=1):  # None if it was closed
        if line.strip():
            yield place, line.strip()


def number_in(text: str, *, fictitious: bool) -> PhoneNumber:
    """Return the number; CommandError does not show what may be somebody's after all."""
    try:
        return parse(text, allow_fictitious=fictitious)
    except NumberNotAllowed as error:
        why = "is fictitious" if error.why == "fictitious" else "is of a type that takes no SMS"
        raise CommandError(f"no code can be sent there: the number {why}.") from None
    except InvalidPhoneNumber:
        raise CommandError(
            "this is no valid number in strict E.164 form, like +447400123456."
        ) from None


def progress(done: int, of: int) -> None:
    """Show a person how many keys were looked at, on standard error."""
    if sys.stderr.isatty():
        end = "\r" if done < of else "\r\x1b[K"
        print(f"keys looked at: {done:,} of {of:,}", end=end, file=sys.stderr, flush=True)


def listed(findings: Iterable[object]) -> str:
    """Return findings one a line, indented."""
    return "\n".join(f"  {finding}" for finding in findings)
