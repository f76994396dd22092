"""The configuration: read once, checked once, and passed as an argument from then on.

- `service_tables`, `tenant_tables`, `pumping_table`: every setting with its type and default; `value_types`: these types
- `model`: the whole configuration, and what follows from it
- `source`: what a configuration was read from, for another process
- `variables`: which variables are settings; `load`: TOML overridden by them; `decode`: values to types, secrets from files
- `rules`, and the modules for single tables that end in `_rules`: errors and warnings with remedies
- `report`: the settings in force, secrets redacted
- `template`: the commented configuration that `init` writes; `development`: that of `dev`
"""

from otp_service.settings.decode import ConfigIssue, SettingsError
from otp_service.settings.key_rules import find_expired_tenants
from otp_service.settings.load import load_settings
from otp_service.settings.model import Settings
from otp_service.settings.report import HashRate, format_hours, format_settings
from otp_service.settings.rules import find_errors, find_tolerated_errors, find_warnings
from otp_service.settings.source import ConfigurationSource, load_source
from otp_service.settings.template import render_config
from otp_service.settings.variables import find_ignored_variables


__all__ = [
    "ConfigIssue",
    "ConfigurationSource",
    "HashRate",
    "Settings",
    "SettingsError",
    "find_errors",
    "find_expired_tenants",
    "find_ignored_variables",
    "find_tolerated_errors",
    "find_warnings",
    "format_hours",
    "format_settings",
    "load_settings",
    "load_source",
    "render_config",
]
