"""What providers bring to /v1/callbacks: the request as it came, and what makes it worth anything."""

import hmac
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from otp_service.core.delivery import Receipt
from otp_service.core.keys import Key, KeyRing


SIGNATURE_TOLERANCE_SECONDS = 300
"""Seconds by which a signature's own clock may be off (Standard Webhooks: five minutes)."""


class CallbackSignatureError(Exception):
    """The vendor signs its receipts, and has not signed this one, or too long ago: 401."""


class Callback(msgspec.Struct, frozen=True, dict=True):
    """A request of a provider. Its `repr` says nothing: it holds numbers."""

    method: str
    url: str
    """The exact public address with its query, as the provider knows it."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    received_at: int
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

    def require_recent_timestamp(self, timestamp: str) -> None:
        """Raise BadSignature unless this instant (Unix time, in seconds) is now, or nearly."""
        is_number = timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 12  # noqa: PLR2004
        if (
            not is_number
            or abs(int(timestamp) - self.received_at / 1000) > SIGNATURE_TOLERANCE_SECONDS
        ):
            raise CallbackSignatureError


class ReceiptDialect(Protocol):
    """The half of a dialect that receipts come to."""

    @property
    def acknowledgement(self) -> tuple[int, bytes]:
        """What the vendor wants to be answered: status and body."""

    def find_certificate_url(self, callback: Callback) -> str | None:
        """Return the address of a certificate that `receipts` wants in the callback, if any.

        Raises as `receipts` does, so that nothing is fetched for what is refused anyway.
        """

    def parse_receipts(self, callback: Callback) -> Sequence[Receipt]:
        """Return the news that a callback brings, of which there may be several.

        Raises BadSignature, and ValueError or KeyError for what cannot be read.
        """


class CallbackUrls:
    """Where receipts are to be brought: an address of its own for each submission.

    It names the submission and carries a token, an HMAC over provider and reference, so that
    whoever calls it is who was given it. `public_url` is how providers reach us.
    """

    def __init__(self, public_url: str, ring: KeyRing) -> None:
        self.public_url = public_url.rstrip("/")
        self._ring = ring

    def build_url(self, provider: str, reference: str) -> str:
        """Return the address for the receipts of one submission."""
        token = _compute_token(self._ring.current, provider, reference)
        query = urlencode({"ref": reference, "token": f"{self._ring.current.id}:{token}"})
        return f"{self.public_url}/v1/callbacks/{provider}?{query}"

    def verify_reference(
        self, provider: str, callback: Callback, receipt_reference: str = ""
    ) -> str | None:
        """Return whose address was called; None if no submission's was.

        `told` is the receipt's own reference, for an address that has only a token. Raises
        BadSignature if the token is not that of this provider and reference.
        """
        query = callback.query
        reference = query.get("ref", receipt_reference if "token" in query else "")
        if not reference:
            return None
        key_id, _, token = query.get("token", "").partition(":")
        key = self._ring.get(key_id)
        if key is None:
            raise CallbackSignatureError
        require_equal(_compute_token(key, provider, reference), token)
        return reference


def strip_reference(url: str) -> str:
    """Return a shorter address, for a vendor that gives our reference back in its receipts."""
    parts = urlsplit(url)
    left = [(name, value) for name, value in parse_qsl(parts.query) if name != "ref"]
    return parts._replace(query=urlencode(left)).geturl()


def _compute_token(key: Key, provider: str, reference: str) -> str:
    return key.compute_mac("receipt", provider.encode(), reference.encode())[:16].hex()


def require_equal(expected: bytes | str, actual: bytes | str) -> None:
    """Compare in constant time. Raises BadSignature if they differ."""
    one = expected.encode() if isinstance(expected, str) else expected
    other = actual.encode(errors="replace") if isinstance(actual, str) else actual
    if not hmac.compare_digest(one, other):
        raise CallbackSignatureError
