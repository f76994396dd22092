"""What the commands of the service share: reading settings, and numbers from standard input."""

import getpass
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from otp_service.cli.command import CommandError, format_list
from otp_service.core.errors import InvalidPhoneNumber, NumberNotAllowed
from otp_service.core.phone_number import PhoneNumber, parse_number
from otp_service.core.printable_text import format_value
from otp_service.settings import (
    ConfigurationSource,
    Settings,
    SettingsError,
    find_errors,
    load_source,
)
from otp_service.settings.development import load_dev_settings


logger = logging.getLogger(__name__)

MAX_ACCOUNT_CHARS = 128
INVALID_ACCOUNT_REMEDY = f"the account is invalid: write at most {MAX_ACCOUNT_CHARS} characters"


WRITE_REMEDY = "Write one with 'otp-service init'."
RUNNING_REMEDY = (
    "Write one with 'otp-service init', or add '--config .otp' to use what 'make run' or"
    " 'otp-service dev' runs: .otp is its data folder."
)


class Configuration(NamedTuple):
    """Settings, and what they were read from."""

    path: Path
    source: ConfigurationSource
    settings: Settings


def find_machine_user() -> str:
    """Return the user who runs the command, for events; the id where it has no name (containers)."""
    try:
        return format_value(getpass.getuser())
    except (KeyError, OSError):  # Python 3.12 and 3.13
        return f"uid {os.getuid()}"


def read_settings(path: Path) -> Settings:
    """Return the settings, safe or not. Raises CommandError with everything that cannot be read."""
    return read_configuration(path).settings


def read_safe_settings(path: Path) -> Settings:
    """Return the settings. Raises CommandError with every unsafe one and its remedy."""
    return read_safe_configuration(path).settings


def read_safe_configuration(path: Path) -> Configuration:
    """Return the configuration. Raises CommandError with every unsafe setting and its remedy."""
    return _require_safety(read_configuration(path))


def _require_safety(configuration: Configuration) -> Configuration:
    """Return the configuration. Raises CommandError if it is not safe."""
    if errors := find_errors(configuration.settings):
        raise CommandError(f"{configuration.path} is not safe to run with:\n{format_list(errors)}")
    return configuration


def log_fixed_codes(settings: Settings) -> None:
    """Log that there are fixed codes, which a reader of the log must not take for production."""
    if fixed_codes := settings.effective_fixed_codes:
        logger.warning("fixed codes are on, %s", fixed_codes)


def read_configuration(path: Path, remedy: str = WRITE_REMEDY) -> Configuration:
    """Return the configuration, safe or not. Raises CommandError with what cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"cannot read {path}: {_describe_read_error(error, remedy)}") from error
    try:
        source, settings = load_source(
            text, os.environ, lambda name: Path(name).read_text("utf-8"), cores=count_cores()
        )
    except SettingsError as error:
        raise CommandError(f"{path} cannot be used:\n{format_list(error.issues)}") from error
    return Configuration(path, source, settings)


def _describe_read_error(error: OSError | UnicodeDecodeError, remedy: str) -> str:
    """Return why a configuration cannot be read. `remedy` is that of a missing file."""
    match error:
        case FileNotFoundError():
            return f"{error.strerror}. {remedy}"
        case PermissionError():
            user = find_machine_user()
            return f"{error.strerror}. Let the user {user} read it, and no other: chown {user}"
        case IsADirectoryError():
            return f"{error.strerror}. Name the file in it with --config"
        case OSError():
            return f"{error.strerror}"
        case _:
            return "it is not text in UTF-8"


def read_running_settings(path: Path, *, must_be_safe: bool = True) -> Settings:
    """Return the settings of a running service: `path` is its file, or the data folder of `dev`.

    Raises CommandError if they cannot be read, or are not safe and must be.
    """
    if not path.is_dir():
        configuration = read_configuration(path, RUNNING_REMEDY)
        return (_require_safety(configuration) if must_be_safe else configuration).settings
    try:
        return load_dev_settings(path)
    except (OSError, ValueError, KeyError) as error:
        raise CommandError(f"{path} is not the data folder of an 'otp-service dev'.") from error


def count_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_stdin_lines(
    prompt: str = "Numbers like +447400123456, one a line; Ctrl-D ends them.",
) -> Iterator[tuple[int, str]]:
    """Yield the lines of standard input that are not empty, each with its number, from 1."""
    if sys.stdin and sys.stdin.isatty():
        print(prompt, file=sys.stderr)
    for place, line in enumerate(sys.stdin or (), start=1):  # None if it was closed
        if line.strip():
            yield place, line.strip()


def is_valid_account(text: str) -> bool:
    """Whether the text can be an `account` of the API, which is UTF-8."""
    is_utf8 = text == text.encode(errors="ignore").decode()
    return is_utf8 and "\0" not in text and 0 < len(text) <= MAX_ACCOUNT_CHARS


def parse_typed_number(text: str, *, allow_fictitious: bool) -> PhoneNumber:
    """Return the number. Raises CommandError, without the text: it may be a real number."""
    try:
        return parse_number(text, allow_fictitious=allow_fictitious)
    except NumberNotAllowed as error:
        is_fictitious = error.reason_code == "fictitious"
        reason = "is fictitious" if is_fictitious else "is of a type that takes no SMS"
        raise CommandError(f"no code can be sent to it: the number {reason}.") from None
    except InvalidPhoneNumber as error:
        raise CommandError(describe_invalid_number(error)) from None


def describe_invalid_number(error: InvalidPhoneNumber) -> str:
    """Return what is wrong with a number and what to write, without the number."""
    text = "the number is invalid: write it in strict E.164 form, like +447400123456."
    return f"{text} {error.problem}"


def show_progress(done: int, total: int) -> None:
    """Show how many keys were scanned, on standard error if it is a terminal."""
    if sys.stderr.isatty():
        end = "\r" if done < total else "\r\x1b[K"
        print(f"keys scanned: {done:,} of {total:,}", end=end, file=sys.stderr, flush=True)
