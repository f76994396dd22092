"""What may be configured: read once, checked once, and passed in from then on.

- `model`: every setting, its type and its default
- `load`: the environment laid over the TOML; `reading`: its values into those types, and secrets
  out of their files, all faults at once
- `check`: what is unsafe or unwise, with the remedy; `limits`: its part of it
- `report`: what is in force, secrets starred
- `template`: the commented configuration that `init` writes
"""

from otp_service.settings.decode import ConfigIssue, SettingsError
from otp_service.settings.load import load_settings
from otp_service.settings.model import Settings
from otp_service.settings.report import format_settings
from otp_service.settings.rules import find_errors, find_warnings
from otp_service.settings.template import render_config


__all__ = [
    "ConfigIssue",
    "Settings",
    "SettingsError",
    "find_errors",
    "find_warnings",
    "format_settings",
    "load_settings",
    "render_config",
]
