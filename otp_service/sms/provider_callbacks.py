"""Requests of providers: receipts and messages from phones, and the addresses with tokens for receipts."""

import hmac
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from functools import cached_property
from typing import Any, Protocol, TypeVar
from urllib.parse import parse_qsl, urlencode, urlsplit

import msgspec

from otp_service.core.delivery import Receipt
from otp_service.core.inbound import InboundMessage
from otp_service.core.keys import Key, KeyRing
from otp_service.core.secret import Secret


SIGNATURE_TOLERANCE_SECONDS = 300
"""Seconds by which a signature's own clock may differ (Standard Webhooks: five minutes)."""

MAX_FORM_FIELDS = 1_000
"""Vendors send some dozens. They are sorted before a signature is compared, so anyone could send 131,000 in a
body of 256 KiB, which take 0.4 s of the CPU that logins need."""

MAX_REPLACED_HALVES = 1_000
"""Of pairs in one body: a message has few, and each costs time before a signature is compared."""

_HIGH_HALF, _LOW_HALF = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_HALF_PATTERN = re.compile(
    rb"((?:[^\\]++|\\[^u]|\\u(?![dD][89a-fA-F])|%b%b)++)|%b|%b"
    % (_HIGH_HALF, _LOW_HALF, _HIGH_HALF, _LOW_HALF),
    re.DOTALL,
)
"""What is kept of JSON, up to the escape of one half of a pair such as \\ud800; or this half."""

StructT = TypeVar("StructT")


class CallbackSignatureError(Exception):
    """The signature or the token is missing, wrong or older than allowed: 401."""


class UnreadableCallback(Exception):  # named for what the vendor sent
    """The callback is not in the vendor's format, or is a receipt or a message that lacks something: 400.

    Raised where a callback is decoded, and nowhere else. Any other exception of a dialect is a bug
    of ours: 500, and logged.
    """


class SkippedEvent(StrEnum):
    """A part of a callback that is neither a receipt nor a message: it is acknowledged, counted and dropped.

    The value is the `reason` of the metric (telemetry.labels.CALLBACK_REASONS).
    """

    OTHER = "other"
    """An event or status that this dialect does not know.

    Vendors add some, and pause an address that answers them with 400.
    """
    UNREADABLE = "unreadable"
    """A receipt of a batch that lacks something; the others of the batch count."""
    INCOMPLETE = "incomplete"
    """A long message from a phone, dropped because its other parts did not arrive in time."""


CallbackPart = Receipt | InboundMessage | SkippedEvent


class Callback(msgspec.Struct, frozen=True, dict=True):
    """A request of a provider. Its `repr` omits the fields, which contain numbers."""

    method: str
    url: str
    """The exact public address with its query, as the provider knows it."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    received_at: int
    """Milliseconds since 1970."""
    certificates: Mapping[str, bytes] = {}
    """By address: what `find_certificate_url` of the dialect asked for (aws/certificates.py)."""

    def __repr__(self) -> str:
        return f"Callback({self.method}, {len(self.body)} bytes)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("method", self.method)]  # msgspec's own would show the fields

    @cached_property
    def query(self) -> dict[str, str]:
        """The parameters of the address; the last one of a name."""
        return dict(parse_qsl(urlsplit(self.url).query, keep_blank_values=True))

    @cached_property
    def text(self) -> str:
        """The body as UTF-8. Raises UnreadableCallback."""
        try:
            return self.body.decode()
        except UnicodeDecodeError:
            raise UnreadableCallback from None

    @cached_property
    def form(self) -> dict[str, str]:
        """The fields of a form; the last one of a name. Raises UnreadableCallback."""
        return dict(parse_form(self.text))

    @cached_property
    def fields(self) -> dict[str, str]:
        """The fields of a form, or of the address without a form. Raises UnreadableCallback if none."""
        if self.method == "GET" or not self.body:
            return self.query_fields
        if "=" not in self.text:
            raise UnreadableCallback
        return self.form

    def get_octets(self, name: str) -> bytes:
        """Return a field of the form or the address before it is decoded; empty without it.

        For a vendor that writes texts in other charsets than UTF-8. Raises UnreadableCallback.
        """
        has_form = self.method != "GET" and self.body
        encoded = self.body.decode("latin-1") if has_form else urlsplit(self.url).query
        values = dict(parse_form(encoded, encoding="latin-1"))
        return values.get(name, "").encode("latin-1", errors="replace")

    @property
    def query_fields(self) -> dict[str, str]:
        """The parameters of the address. Raises UnreadableCallback if it has no other than ours."""
        if not self.query.keys() - {"ref", "token"}:
            raise UnreadableCallback
        return self.query

    @cached_property
    def json(self) -> Any:
        """The body as JSON. Raises UnreadableCallback."""
        return decode_callback(self.body, Any)

    def decode_json(self, struct_type: type[StructT]) -> StructT:
        """Return the body as this struct. Raises UnreadableCallback."""
        return decode_callback(self.body, struct_type)

    @cached_property
    def flat_fields(self) -> dict[str, str]:
        """The scalar members of a JSON object, or else `fields`. Raises UnreadableCallback."""
        if self.method == "GET" or not self.body.startswith(b"{"):
            return self.fields
        members = decode_callback(self.body, dict[str, Any])
        if len(members) > MAX_FORM_FIELDS:
            raise UnreadableCallback
        scalars = (
            (name, each) for name, each in members.items() if isinstance(each, str | int | float)
        )
        return {name: str(each) for name, each in scalars}

    def decode_event(self, struct_type: type[StructT]) -> StructT:
        """Return the body as this struct: an empty one for any other object of JSON.

        Only its type makes an event a receipt, and vendors add events of other forms. Raises
        UnreadableCallback for a body that is no object of JSON.
        """
        try:
            return self.decode_json(struct_type)
        except UnreadableCallback:
            self.decode_json(dict[str, msgspec.Raw])
            return struct_type()

    def require_recent_timestamp(self, timestamp: str) -> None:
        """Raise CallbackSignatureError unless this Unix time in seconds is at most 300 s off."""
        is_number = timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 12  # noqa: PLR2004
        now = self.received_at / 1000
        if not is_number or abs(int(timestamp) - now) > SIGNATURE_TOLERANCE_SECONDS:
            raise CallbackSignatureError


class CallbackDialect(Protocol):
    """The part of a dialect that reads callbacks."""

    @property
    def acknowledgement(self) -> tuple[int, bytes]:
        """The status and body that the vendor expects as an answer."""

    @property
    def inbound_acknowledgement(self) -> tuple[int, bytes]:
        """The same at /v1/inbound: nothing in it may be sent to the phone."""

    @property
    def inbound_tokens(self) -> Sequence[Secret]:
        """The secrets of the address /v1/inbound: the one in force, then the previous one."""

    def requires_signature(self, callback: Callback) -> bool:
        """Whether `parse_callback` refuses this callback unless the vendor has signed it.

        A SkippedEvent of such a callback is authentic, although it has no `is_signed`.
        """

    def find_certificate_url(self, callback: Callback) -> str | None:
        """Return the address of the certificate that `parse_callback` needs, if any.

        Raises as `parse_callback` does, so that nothing is fetched for a callback that is refused.
        """

    def parse_callback(self, callback: Callback) -> Sequence[CallbackPart]:
        """Return the receipts and messages of a callback, and what it has instead of one.

        Raises CallbackSignatureError, and UnreadableCallback for what the vendor sent wrongly.
        """


class CallbackUrls:
    """Builds and checks the addresses for receipts: a separate one for each submission.

    An address names the submission and has a token, an HMAC over provider and reference, so that
    only the provider that was given it can call it. `public_url` is where providers reach us.
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
        """Return the reference whose address was called; None for an address without a token.

        `receipt_reference` is the receipt's own, for an address that has only a token. Raises
        CallbackSignatureError if the token is not that of this provider and reference.
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


def parse_form(text: str, encoding: str = "utf-8") -> list[tuple[str, str]]:
    """Return the fields of a form or a query. Raises UnreadableCallback for too many."""
    try:
        return parse_qsl(
            text, keep_blank_values=True, encoding=encoding, max_num_fields=MAX_FORM_FIELDS
        )
    except ValueError:
        raise UnreadableCallback from None


def decode_callback(body: bytes | str | msgspec.Raw, struct_type: type[StructT]) -> StructT:
    """Return the JSON of a receipt or a message as this struct. Raises UnreadableCallback.

    A phone can send a text that is no Unicode: half of a pair in UCS-2. Some vendors pass it on, and
    would repeat it for hours and pause an address that refuses it. So it is replaced.
    """
    try:
        return _decode_json(body, struct_type)
    except UnreadableCallback:
        return _decode_json(_replace_invalid_characters(body), struct_type)


def _decode_json(body: bytes | str | msgspec.Raw, struct_type: type[StructT]) -> StructT:
    try:
        return msgspec.json.decode(body, type=struct_type)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise UnreadableCallback from None


def _replace_invalid_characters(body: bytes | str | msgspec.Raw) -> bytes:
    """Return JSON with U+FFFD in place of bytes that are not UTF-8, and of escaped halves of a pair."""
    octets = body.encode(errors="replace") if isinstance(body, str) else bytes(body)
    valid = octets.decode(errors="replace").encode()
    return _HALF_PATTERN.sub(
        lambda match: match[1] or rb"\ufffd", valid, count=2 * MAX_REPLACED_HALVES
    )


def convert_callback(fields: Mapping[str, str], struct_type: type[StructT]) -> StructT:
    """Return the form or query of a receipt as this struct. Raises UnreadableCallback."""
    try:
        return msgspec.convert(fields, struct_type)
    except msgspec.ValidationError:
        raise UnreadableCallback from None


def parse_batch(
    items: Iterable[msgspec.Raw],
    struct_type: type[StructT],
    parse_item: Callable[[StructT], CallbackPart],
) -> list[CallbackPart]:
    """Return the receipt of each item of a batch; one that cannot be read loses no other."""

    def parse_raw(item: msgspec.Raw) -> CallbackPart:
        try:
            return parse_item(decode_callback(item, struct_type))
        except UnreadableCallback:
            return SkippedEvent.UNREADABLE

    return [parse_raw(item) for item in items]


def strip_reference(url: str) -> str:
    """Return a shorter address, for a vendor that repeats our reference in its receipts."""
    parts = urlsplit(url)
    left = [(name, value) for name, value in parse_qsl(parts.query) if name != "ref"]
    return parts._replace(query=urlencode(left)).geturl()


def _compute_token(key: Key, provider: str, reference: str) -> str:
    return key.compute_mac("receipt", provider.encode(), reference.encode())[:16].hex()


def require_equal(expected: bytes | str, actual: bytes | str) -> None:
    """Compare in constant time. Raises CallbackSignatureError if they differ."""
    left = expected.encode() if isinstance(expected, str) else expected
    right = actual.encode(errors="replace") if isinstance(actual, str) else actual
    if not hmac.compare_digest(left, right):
        raise CallbackSignatureError
