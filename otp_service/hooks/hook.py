"""What all types of hooks share: their settings, a request, and what is read of it."""

import hmac
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta

from otp_service.core import errors
from otp_service.core.errors import OtpError
from otp_service.core.secret import Secret
from otp_service.core.standard_webhook import is_signed_webhook
from otp_service.core.timestamps import SECOND_MS
from otp_service.core.url_check import FieldErrors
from otp_service.schemas.members import Purpose


TIME_TOLERANCE_SECONDS: Final = 300
"""Seconds by which the time of a signature may differ (Standard Webhooks: five minutes)."""

MIN_SECRET_CHARS: Final = 16
"""Products generate 32 or more; fewer than 16 mean a secret that a person chose."""

NO_SMS_TEXT: Final = "No code can be sent to this number."
FAILED_TEXT: Final = "The code could not be sent. Try again in a minute."

_MAX_TIMESTAMP_DIGITS: Final = 11

ValidMinutes = Annotated[int, Meta(ge=1, le=60)]
AnswerSeconds = Annotated[float, Meta(ge=0.5, le=30)]

SignatureFault = Literal["missing", "signature", "unknown", "expired"]
"""Without a signature or key, with a wrong one, with an unknown key, with a time that is too far off."""


class HookSignatureError(Exception):
    """The request is not from the product, or is too old."""

    def __init__(self, reason: SignatureFault) -> None:
        super().__init__(reason)
        self.reason = reason


class HookRequest(msgspec.Struct, frozen=True):
    """A request to a hook. Its `repr` omits headers and body, which contain secrets and codes."""

    headers: Mapping[str, str]
    """Names in lower case; the values of a repeated name are joined with a comma."""
    body: bytes
    received_at: int
    """Milliseconds since 1970."""

    def __repr__(self) -> str:
        return f"HookRequest({len(self.body)} bytes)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("bytes", len(self.body))]  # msgspec's own would show the fields

    def require_header(self, name: str) -> str:
        """Return a header. Raises HookSignatureError if it is missing or empty."""
        value = self.headers.get(name, "")
        if not value:
            raise HookSignatureError("missing")
        return value

    def require_recent_time(self, timestamp: str) -> None:
        """Raise HookSignatureError unless this Unix time in seconds is at most five minutes off."""
        is_number = timestamp.isascii() and timestamp.isdigit()
        if not is_number or len(timestamp) > _MAX_TIMESTAMP_DIGITS:
            raise HookSignatureError("signature")
        if abs(int(timestamp) - self.received_at / SECOND_MS) > TIME_TOLERANCE_SECONDS:
            raise HookSignatureError("expired")

    def require_webhook_signature(self, keys: Iterable[bytes]) -> None:
        """Raise HookSignatureError unless a Standard Webhook was signed recently with one of the keys."""
        self.require_header("webhook-signature")
        timestamp = self.require_header("webhook-timestamp")
        if not is_signed_webhook(self.headers, self.body, keys):
            raise HookSignatureError("signature")
        self.require_recent_time(timestamp)


class HookDelivery(msgspec.Struct, frozen=True, kw_only=True):
    """What a product asks to send. Its `repr` is empty: the fields are a code and a number."""

    phone_number: str
    code: str
    locale: str | None = None
    client_ip: str | None = None
    account: str | None = None
    identity: tuple[bytes, ...]
    """What is the same in a repeated request for this message, and in no request for another."""

    def __repr__(self) -> str:
        return "HookDelivery()"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return []


class HookAnswer(NamedTuple):
    """A response in the format of the product."""

    status: int
    body: bytes = b""


class HookSettings(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="type", forbid_unknown_fields=True
):
    """[hooks.NAME]: the settings of every type of hook."""

    tenant: str
    secrets: dict[str, Secret]
    """By names that you choose, such as the date; each of them is accepted, for a rotation."""
    purpose: Purpose = "login"
    valid_minutes: ValidMinutes = 5
    """For how long the product accepts the code: the message states it."""
    answer_seconds: AnswerSeconds = 10.0
    """After this the answer is success, and the message is still sent: the product would give up."""

    @property
    def provided_members(self) -> frozenset[str]:
        """What its requests have of `client_ip` and `account`, which a tenant may require."""
        return frozenset()

    def verify_signature(self, request: HookRequest) -> None:
        """Raise HookSignatureError unless the request is from the holder of a secret, and recent."""
        raise NotImplementedError

    def parse_delivery(self, request: HookRequest) -> HookDelivery:
        """Return what to send. Raises InvalidRequest."""
        raise NotImplementedError

    def build_success(self) -> HookAnswer:
        """Return the answer to a request whose message was sent, or may have been."""
        raise NotImplementedError

    def build_refusal(self, error: OtpError, status: int) -> HookAnswer | None:  # noqa: ARG002  # see the products
        """Return the answer in the product's format; None for a problem document with `status`."""
        return None

    def find_errors(self) -> FieldErrors:
        """Yield the errors of the settings that a type alone cannot express."""
        if not self.secrets:
            yield "secrets", 'needs the secret of the product: { first_file = "/run/secrets/hook" }'
        for name, secret in self.secrets.items():
            if remedy := self.find_secret_error(secret.reveal()):
                yield f"secrets.{name}", remedy

    def list_keys(self) -> list[bytes]:
        """Return the keys of all secrets, each as the bytes with which it verifies."""
        return [key for each in self.secrets.values() for key in self.decode_keys(each.reveal())]

    def decode_keys(self, secret: str) -> list[bytes]:
        """Return the keys that a secret encodes."""
        return [secret.encode(errors="replace")]  # `check` refuses what cannot be encoded

    def find_secret_error(self, secret: str) -> str | None:
        """Return what is wrong with a secret, without repeating it."""
        if not secret.isascii() or not secret.isprintable() or secret != secret.strip():
            return "has a character that no key has: copy it from the product once more"
        if len(secret) < MIN_SECRET_CHARS:
            return f"is short: generate one of {MIN_SECRET_CHARS} or more random characters"
        return None


def has_equal(given: str, expected: Iterable[str]) -> bool:
    """Return whether the text is one of these. Each comparison takes constant time."""
    encoded = given.encode(errors="replace")
    matches = [hmac.compare_digest(encoded, each.encode()) for each in expected]
    return any(matches)


def describe_refusal(error: OtpError) -> str:
    """Return the sentence for the person; for a mistake in the settings, that for the developer."""
    match error:
        case errors.RateLimited(retry_after=wait):
            return f"Too many codes were requested. Try again in {wait} seconds."
        case errors.InvalidPhoneNumber() | errors.NumberNotAllowed() | errors.Undeliverable():
            return NO_SMS_TEXT
        case errors.NumberLocked() | errors.AccountLocked():
            return NO_SMS_TEXT
        case errors.DeliveryFailed() | errors.TemporarilyUnavailable():
            return FAILED_TEXT
        case errors.InvalidRequest(errors=pairs):
            return "; ".join(f"{path or 'body'}: {message}" for path, message in pairs)
        case _:
            return str(error)


def encode_answer(members: Mapping[str, Any]) -> bytes:
    return msgspec.json.encode(members)
