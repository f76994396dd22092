"""What the two sites read from the environment."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


EXAMPLE_FOLDER = Path(__file__).parent
TEMPLATE_FOLDER, STATIC_FOLDER = EXAMPLE_FOLDER / "templates", EXAMPLE_FOLDER / "static"


class Config(NamedTuple):
    """The configuration of a site."""

    otp_url: str
    otp_api_key: str
    hosts: list[str]
    """The names by which browsers call the site. Any other Host is refused."""
    is_https: bool
    """Whether browsers see https. Only a site on loopback may be without."""

    def __repr__(self) -> str:
        return f"Config(otp_url={self.otp_url!r}, hosts={self.hosts!r}, is_https={self.is_https!r})"


def load_config(environment: Mapping[str, str]) -> Config:
    """Return the configuration. Raises KeyError if a variable is missing.

    Browsers see https unless LOGIN_HTTPS is 0. A proxy in front may speak http to the site, so the
    scheme of a request does not decide it.
    """
    return Config(
        otp_url=environment["OTP_URL"],
        otp_api_key=environment["OTP_API_KEY"],
        hosts=environment["LOGIN_HOSTS"].split(),
        is_https=environment.get("LOGIN_HTTPS") != "0",
    )
