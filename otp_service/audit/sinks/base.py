"""What every kind of sink has: its settings' shape, and what of them can be unsafe."""

import ssl
from collections.abc import Callable, Sequence
from typing import Annotated, Protocol

import httpx
import msgspec

from otp_service.core.url_check import FieldErrors, find_url_errors


LineWriter = Callable[[Sequence[bytes]], None]
"""Has the lines elsewhere when it returns. Blocks; raises SinkFailed, OSError or anything else."""

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


def find_sink_url_errors(field: str, url: str) -> FieldErrors:
    """Yield the errors of a sink's address."""
    example = "https://logs.example.com/otp"
    return find_url_errors(field, url, example=example, content="the events")
