"""What providers bring to /v1/callbacks: the request as it came, and what makes it worth anything."""

import hmac
from collections.abc import Mapping
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec


TOLERANCE = 300
"""Seconds by which a signature's own clock may be off (Standard Webhooks: five minutes)."""


class BadSignature(Exception):
    """The vendor signs its receipts, and has not signed this one, or too long ago: 401."""


class Callback(msgspec.Struct, frozen=True, dict=True):
    """A request of a provider. Its `repr` says nothing: it holds numbers."""

    method: str
    url: str
    """The exact public address with its query, as the provider knows it."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    now: int
    """Milliseconds since 1970."""
    certificates: Mapping[str, bytes] = {}
    """What the dialect said it `needs`, by address (certificates.py)."""

    def __repr__(self) -> str:
        return f"Callback({self.method}, {len(self.body)} bytes)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("method", self.method)]  # not the fields, as msgspec would show them

    @cached_property
    def query(self) -> dict[str, str]:
        """The parameters of the address; the last one of a name."""
        return dict(parse_qsl(urlsplit(self.url).query, keep_blank_values=True))

    @cached_property
    def form(self) -> dict[str, str]:
        """The fields of a form; the last one of a name. Raises ValueError if it is none."""
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))

    @cached_property
    def json(self) -> Any:
        """The body as JSON. Raises ValueError if it is none."""
        return msgspec.json.decode(self.body)

    def check_age(self, seconds: str) -> None:
        """Raise BadSignature unless this instant (Unix time, in seconds) is now, or nearly."""
        is_number = seconds.isascii() and seconds.isdigit() and len(seconds) < 12  # noqa: PLR2004
        if not is_number or abs(int(seconds) - self.now / 1000) > TOLERANCE:
            raise BadSignature


def check(expected: bytes | str, actual: bytes | str) -> None:
    """Compare in constant time. Raises BadSignature if they differ."""
    one = expected.encode() if isinstance(expected, str) else expected
    other = actual.encode(errors="replace") if isinstance(actual, str) else actual
    if not hmac.compare_digest(one, other):
        raise BadSignature
