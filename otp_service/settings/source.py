"""Everything that a configuration was read from, so that another process reads the same one.

A worker that is started later, after another one has ended, must run the configuration in force and
not what the file contains by then. So `serve` reads it once and passes it on.
"""

from collections.abc import Mapping

import msgspec

from otp_service.settings.decode import ReadFile
from otp_service.settings.load import list_origins, load_settings
from otp_service.settings.model import Settings
from otp_service.settings.variables import ENV_PREFIX


class ConfigurationSource(msgspec.Struct, frozen=True):
    """The text of a configuration file, and what the settings need besides it."""

    text: str
    environ: dict[str, str]
    """The variables that begin with OTP_."""
    files: dict[str, str]
    """The content of each file that a setting names, such as a secret."""
    cores: int

    def __repr__(self) -> str:
        return f"ConfigurationSource({len(self.text)} characters)"  # it contains secrets

    def list_origins(self) -> dict[str, str]:
        """Return the path of each setting that was written, with its variable, or empty for the file."""
        return list_origins(self.text, self.environ)

    def load(self) -> Settings:
        """Return the settings, which were loaded from the same source before."""
        return load_settings(self.text, self.environ, self.files.__getitem__, cores=self.cores)


def load_source(
    text: str, environ: Mapping[str, str], read_file: ReadFile, *, cores: int
) -> tuple[ConfigurationSource, Settings]:
    """Return the source and its settings. Raises SettingsError as `load_settings` does."""
    files: dict[str, str] = {}

    def read_and_keep(name: str) -> str:
        files[name] = read_file(name)
        return files[name]

    settings = load_settings(text, environ, read_and_keep, cores=cores)
    variables = {name: value for name, value in environ.items() if name.startswith(ENV_PREFIX)}
    return ConfigurationSource(text, variables, files, cores), settings
