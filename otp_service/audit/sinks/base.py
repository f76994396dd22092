"""What every kind of sink has: its settings' shape, and what of them can be unsafe."""

import re
import ssl
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Protocol
from urllib.parse import urlsplit

import httpx
import msgspec

from otp_service.core.ip_address import is_loopback


LineWriter = Callable[[Sequence[bytes]], None]
"""Has the lines elsewhere when it returns. Blocks; raises SinkFailed, OSError or anything else."""

FieldErrors = Iterator[tuple[str, str]]

SinkTimeoutSeconds = Annotated[float, msgspec.Meta(gt=0, le=60)]


class SinkError(Exception):
    """A sink does not have the lines; they are offered again."""


class Sink(Protocol):
    """Somewhere else that lines go to: those of the archive, or anchors."""

    async def append_lines(self, lines: Sequence[bytes]) -> None:
        """Have the lines, surely, or raise: then all of them come again."""


class SinkSettings(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True
):
    """The settings of one sink."""

    def find_errors(self) -> FieldErrors:
        """Tell what is wrong or unsafe in these settings, as (field, remedy)."""
        yield from ()


def create_tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Return how servers are believed: by this authority's file alone, or by the usual ones."""
    if ca_file:
        return ssl.create_default_context(cafile=ca_file)
    return httpx.create_ssl_context(trust_env=False)


def find_url_errors(field: str, url: str) -> FieldErrors:
    """Tell what is wrong with an address."""
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # raises for a port that is none
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not parts.hostname or re.search(r"[^!-~]", url):
        yield field, "write it like https://logs.example.com/otp"
    elif parts.scheme == "http" and not is_loopback(parts.hostname):
        yield field, "use https: the events would cross the network in the open"
    if "@" in parts.netloc:
        yield field, "move user and password to the settings that are not shown"
