"""What may be configured: read once, checked once, and passed in from then on.

- `model`: every setting, its type and its default
- `reading`: TOML's values into those types, all faults at once; `kinds`: what it asks of a type
- `environ`: the environment laid over the TOML; `load`: both together
- `check`: what is unsafe or unwise, with the remedy; `tenants` and `limits`: their part of it
- `report`: what is in force, secrets starred
- `template`: the commented configuration that `init` writes
"""

from otp_service.settings.check import faults, warnings
from otp_service.settings.load import load
from otp_service.settings.model import Settings
from otp_service.settings.reading import Fault, SettingsError
from otp_service.settings.report import report
from otp_service.settings.template import render


__all__ = ["Fault", "Settings", "SettingsError", "faults", "load", "render", "report", "warnings"]
