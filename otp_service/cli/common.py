"""What commands of the service share: its settings, and numbers that are typed."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from otp_service.cli.command import CommandError, listed
from otp_service.core.errors import InvalidPhoneNumber, NumberNotAllowed
from otp_service.core.phone_number import PhoneNumber, parse
from otp_service.settings import Settings, SettingsError, faults, load
from otp_service.settings.dev import dev_settings_in


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


def running_settings(path: Path) -> Settings:
    """Return the settings of a service that runs; a folder is the one in which `dev` keeps its data."""
    if not path.is_dir():
        return safe_settings(path)
    try:
        return dev_settings_in(path)
    except (OSError, ValueError, KeyError) as error:
        raise CommandError(f"{path} is not the data folder of an 'otp-service dev'.") from error


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
