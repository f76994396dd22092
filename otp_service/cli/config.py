"""Where commands get the settings from: a TOML file, the environment and secret files."""

import argparse
import os
import time
from pathlib import Path

from otp_service.cli.errors import CommandError
from otp_service.settings import Settings, SettingsError, faults, load


DEFAULT = Path("otp.toml")


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add --config."""
    parser.add_argument(
        "--config", type=Path, default=DEFAULT, help="the TOML file with the settings (otp.toml)"
    )


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
        raise CommandError(f"{path} cannot be used:\n{error}") from error


def safe_settings(path: Path) -> Settings:
    """Return the settings, or refuse with every fault and its remedy."""
    settings = read_settings(path)
    found = faults(settings, time.time_ns() // 1_000_000)
    if found:
        told = "\n".join(f"  {fault}" for fault in found)
        raise CommandError(f"{path} is not safe to run with:\n{told}")
    return settings


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
