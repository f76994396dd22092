"""The interface of all sinks, and the checks that their settings share."""

import ssl
from collections.abc import Callable, Sequence
from typing import Annotated, Protocol

import httpx
import msgspec

from otp_service.core.url_check import FieldErrors, find_url_errors


LineWriter = Callable[[Sequence[bytes]], None]
"""Delivers lines and returns once they are stored. Blocks; raises SinkError, OSError or any other."""

SinkTimeoutSeconds = Annotated[float, msgspec.Meta(gt=0, le=60)]


class SinkError(Exception):
    """A sink has not stored the lines; they are delivered again."""


class Sink(Protocol):
    """A receiver of archive lines or anchors."""

    async def append_lines(self, lines: Sequence[bytes]) -> None:
        """Store all lines, or raise: then all of them are delivered again."""


class SinkSettings(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True
):
    """The settings of one sink. A subclass also has `create_writer`, which returns a LineWriter."""

    def find_errors(self) -> FieldErrors:
        """Yield each invalid or unsafe setting as (field, remedy)."""
        yield from ()


def create_tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Return a context that trusts the authority in this file alone, or the usual ones."""
    if ca_file:
        return ssl.create_default_context(cafile=ca_file)
    return httpx.create_ssl_context(trust_env=False)


def find_sink_url_errors(field: str, url: str) -> FieldErrors:
    example = "https://logs.example.com/otp"
    return find_url_errors(field, url, example=example, content="the events")
