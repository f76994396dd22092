"""What may be configured: read once, checked once, and passed in from then on.

- `model`: every setting, its type and its default
- `load`: the environment laid over the TOML; `reading`: its values into those types, and secrets
  out of their files, all faults at once
- `check`: what is unsafe or unwise, with the remedy; `limits`: its part of it
- `report`: what is in force, secrets starred
- `template`: the commented configuration that `init` writes
"""

from otp_service.settings.check import faults, warnings
from otp_service.settings.decode import Fault, SettingsError
from otp_service.settings.load import load
from otp_service.settings.model import Settings
from otp_service.settings.report import report
from otp_service.settings.template import render


__all__ = ["Fault", "Settings", "SettingsError", "faults", "load", "render", "report", "warnings"]
