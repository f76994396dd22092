"""What SNS brings to a subscribed address: is it from the one topic that we wait for, and signed?

Everybody with an account of AWS can have SNS sign what they like. So, in this order, and with
nothing fetched before the last step:

    TopicArn is the configured one, to the letter      else somebody else's topic
    Timestamp is of the last 15 minutes                else perhaps a repetition
    SigningCertURL is a .pem of that region's own SNS  else a key of anybody's choosing
    Signature fits, with the certificate of that URL   else forged

The certificate is fetched and not kept in the settings: AWS exchanges it without notice, and a
list of files would turn every receipt away on that day. What makes fetching safe is that the
address leaves no choice but a file's name on a host of Amazon's, and that TLS vouches for it; the
one who fetches (certificates.py) follows no redirect. It is handed in as `callback.certificates`.

A subscription wants to be confirmed by visiting an address. That is never done here: whoever has
subscribed us would have us visit it. An operator does it, with what `Notification` holds.

https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message-verify-message-signature.html
"""

import base64
import re
from datetime import datetime

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA1, SHA256

from otp_service.core.timestamps import SECOND_MS, to_datetime, to_epoch_ms
from otp_service.core.url_check import FieldErrors
from otp_service.sms.aws.sigv4 import REGION_PATTERN
from otp_service.sms.receipt_callbacks import Callback, CallbackSignatureError, require_equal


NOTIFICATION_TOLERANCE_SECONDS = 15 * 60
"""Seconds by which a notification may be old: a delivery that failed is tried again for a while."""

SIGNED_FIELDS = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": (
        *("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    ),
}
"""What is signed of each type, in this order; a Subject only if there is one."""

# 1 is what a topic has unless it was told otherwise; a second text for a known hash is out of
# reach with SHA-1 too, and AWS alone chooses the first.
SIGNATURE_HASHES = {"1": SHA1(), "2": SHA256()}  # noqa: S303

_TOPIC_ARN = re.compile(
    rf"arn:aws[a-z-]*:sns:({REGION_PATTERN}):[0-9]{{12}}:[A-Za-z0-9_-]{{1,256}}"
)


class Notification(msgspec.Struct, frozen=True, rename="pascal"):
    """The envelope. Its `repr` says nothing: the message holds a number."""

    type: str
    message_id: str
    topic_arn: str
    message: str
    timestamp: str
    signature_version: str
    signature: str
    certificate_url: str = msgspec.field(name="SigningCertURL")
    subject: str | None = None
    token: str | None = None
    subscribe_url: str | None = msgspec.field(name="SubscribeURL", default=None)

    def __repr__(self) -> str:
        return f"Notification({self.type})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return [("type", self.type)]

    @property
    def string_to_sign(self) -> bytes:
        """What is signed. Raises KeyError for a type that we have no use for."""
        fields = msgspec.to_builtins(self)
        pairs = [(name, fields[name]) for name in SIGNED_FIELDS[self.type]]
        return "".join(f"{name}\n{value}\n" for name, value in pairs if value is not None).encode()


def find_topic_errors(topic: str) -> FieldErrors:
    """Tell what is wrong with a topic in the settings."""
    if topic and not _TOPIC_ARN.fullmatch(topic):
        yield "topic_arn", "write it like arn:aws:sns:eu-west-1:123456789012:sms-events"


def parse_certificate_url(callback: Callback, topic_arn: str) -> str:
    """Return the address of the certificate that this is signed with.

    Raises BadSignature for what no certificate could help, and ValueError for what is not SNS's.
    """
    return _parse_notification(callback, topic_arn).certificate_url


def verify_notification(callback: Callback, topic_arn: str) -> Notification:
    """Return what SNS has signed, for this topic. Raises as `certificate_of`, and KeyError."""
    notification = _parse_notification(callback, topic_arn)
    pem = callback.certificates.get(notification.certificate_url)
    if pem is None:
        raise CallbackSignatureError
    _verify_signature(notification, _load_public_key(pem, callback.received_at))
    return notification


def _parse_notification(callback: Callback, topic: str) -> Notification:
    notification = msgspec.json.decode(callback.body, type=Notification)
    require_equal(topic, notification.topic_arn)
    _require_recent_timestamp(notification.timestamp, callback.received_at)
    _require_certificate_url(notification.certificate_url, topic)
    return notification


def _require_recent_timestamp(timestamp: str, now: int) -> None:
    instant = datetime.fromisoformat(timestamp)
    tolerance = NOTIFICATION_TOLERANCE_SECONDS * SECOND_MS
    if instant.tzinfo is None or abs(to_epoch_ms(instant) - now) > tolerance:
        raise CallbackSignatureError


def _require_certificate_url(url: str, topic: str) -> None:
    """As a whole, and not taken apart: so there is no port, user, query or '..' to think of."""
    arn = _TOPIC_ARN.fullmatch(topic)
    if not arn:
        raise CallbackSignatureError
    host = re.escape(f"sns.{arn[1]}.amazonaws.com")
    if not re.fullmatch(rf"https://{host}/[A-Za-z0-9_-]{{1,128}}\.pem", url):
        raise CallbackSignatureError


def _load_public_key(pem: bytes, now: int) -> RSAPublicKey:
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        key = certificate.public_key()
    except ValueError as error:
        raise CallbackSignatureError from error
    instant = to_datetime(now)
    is_valid = certificate.not_valid_before_utc <= instant <= certificate.not_valid_after_utc
    if not is_valid or not isinstance(key, RSAPublicKey):
        raise CallbackSignatureError
    return key


def _verify_signature(notification: Notification, key: RSAPublicKey) -> None:
    algorithm = SIGNATURE_HASHES.get(notification.signature_version)
    if algorithm is None:
        raise CallbackSignatureError
    try:
        signature = base64.b64decode(notification.signature, validate=True)
        key.verify(signature, notification.string_to_sign, PKCS1v15(), algorithm)
    except (ValueError, InvalidSignature) as error:
        raise CallbackSignatureError from error
