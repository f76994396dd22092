"""From the text of a configuration, the environment and the secret files to one `Settings`."""

import tomllib
from collections.abc import Mapping
from typing import cast

from otp_service.settings.environ import overlay
from otp_service.settings.model import Settings
from otp_service.settings.reading import Fault, Reader, ReadFile, SettingsError


def load(text: str, environ: Mapping[str, str], read_file: ReadFile, *, cores: int) -> Settings:
    """Return the settings, or raise SettingsError with everything that cannot be read.

    Whether they are safe is for `check.faults` to say: what is unsafe can still be shown.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError([Fault("configuration", f"is not TOML: {error}")]) from None
    reader = Reader(read_file)
    overlay(document, environ, reader)
    for section in ("service", "hash"):
        table = document.setdefault(section, {})
        if isinstance(table, dict):
            table.setdefault("workers", cores)
    settings = reader.read(document, Settings, "")
    if reader.faults:
        raise SettingsError(reader.faults)
    return cast("Settings", settings)
