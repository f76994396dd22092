"""The notifications that SNS posts to a subscribed address, and their signature.

Any AWS account can make SNS sign a notification. So these are checked in this order, and nothing is
fetched before the last step:

    TopicArn is exactly the configured one             otherwise another account's topic
    Timestamp is of the last 15 minutes                otherwise perhaps a repetition
    SigningCertURL is a .pem of that region's own SNS  otherwise a key that the sender chose
    Signature is valid with that certificate           otherwise forged

The certificate is fetched and not configured: AWS exchanges it without notice, and from then on
every receipt would be refused. Fetching is safe because only the file name of the address is free,
its host is Amazon's, TLS authenticates that host, and certificates.py follows no redirect. The
certificate is passed in as `callback.certificates`.

A subscription is confirmed with a GET to an address. The service never does that, because an
attacker could subscribe it. An operator does it, with the token of the `Notification`.

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
from otp_service.sms.aws.sigv4 import REGION_PATTERN, get_aws_domain
from otp_service.sms.provider_callbacks import (
    Callback,
    CallbackSignatureError,
    UnreadableCallback,
)


NOTIFICATION_TOLERANCE_SECONDS = 15 * 60
"""The highest age of a notification: SNS repeats a failed delivery for some time."""

_CONFIRMATION_FIELDS = (
    *("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
)
SIGNED_FIELDS = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": _CONFIRMATION_FIELDS,
    "UnsubscribeConfirmation": _CONFIRMATION_FIELDS,
}
"""The signed fields of each type, in this order; Subject only if there is one."""

# 1 is the default of a topic. A second preimage is infeasible with SHA-1 too, and only AWS chooses
# the first text.
SIGNATURE_HASHES = {"1": SHA1(), "2": SHA256()}  # noqa: S303

_TOPIC_ARN = re.compile(
    rf"arn:(aws|aws-cn|aws-us-gov):sns:({REGION_PATTERN}):[0-9]{{12}}:[A-Za-z0-9_-]{{1,256}}"
)


class Notification(msgspec.Struct, frozen=True, rename="pascal"):
    """The envelope. Its `repr` omits the message, which contains a number."""

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
        """The signed text. Raises CallbackSignatureError for any other type."""
        if self.type not in SIGNED_FIELDS:
            raise CallbackSignatureError
        fields = msgspec.to_builtins(self)
        pairs = [(name, fields[name]) for name in SIGNED_FIELDS[self.type]]
        texts = {"Message", "Subject"}
        has_line_break = any("\n" in (value or "") for name, value in pairs if name not in texts)
        if has_line_break or "\nMessageId\n" in self.message:
            raise CallbackSignatureError  # the text could be read as other fields
        return "".join(f"{name}\n{value}\n" for name, value in pairs if value is not None).encode()


def find_topic_errors(setting: str, topic: str) -> FieldErrors:
    arn = _TOPIC_ARN.fullmatch(topic)
    if topic and not arn:
        yield setting, "write it like arn:aws:sns:eu-west-1:123456789012:sms-events"
    elif arn and (arn[1] == "aws-cn") != arn[2].startswith("cn-"):
        yield setting, "a region cn-… is in arn:aws-cn, and no other is"


def parse_certificate_url(callback: Callback, topics: tuple[str, ...]) -> str:
    """Return the address of the signing certificate of a notification to one of these topics.

    Raises CallbackSignatureError where no certificate could help, and UnreadableCallback for a
    callback that is not from SNS.
    """
    return _parse_notification(callback, topics).certificate_url


def verify_notification(callback: Callback, topics: tuple[str, ...]) -> Notification:
    """Return the notification that SNS signed for one of these topics. Raises as above."""
    notification = _parse_notification(callback, topics)
    pem = callback.certificates.get(notification.certificate_url)
    if pem is None:
        raise CallbackSignatureError
    _verify_signature(notification, _load_public_key(pem, callback.received_at))
    return notification


def _parse_notification(callback: Callback, topics: tuple[str, ...]) -> Notification:
    notification = callback.decode_json(Notification)
    if notification.topic_arn not in topics:  # no secret
        raise CallbackSignatureError
    _require_recent_timestamp(notification.timestamp, callback.received_at)
    _require_certificate_url(notification.certificate_url, notification.topic_arn)
    return notification


def _require_recent_timestamp(timestamp: str, now: int) -> None:
    try:
        instant = datetime.fromisoformat(timestamp)
    except ValueError:
        raise UnreadableCallback from None
    tolerance = NOTIFICATION_TOLERANCE_SECONDS * SECOND_MS
    if instant.tzinfo is None or abs(to_epoch_ms(instant) - now) > tolerance:
        raise CallbackSignatureError


def _require_certificate_url(url: str, topic: str) -> None:
    """Match the whole address unparsed, which excludes a port, user, query and '..'."""
    arn = _TOPIC_ARN.fullmatch(topic)
    if not arn:
        raise CallbackSignatureError
    host = re.escape(f"sns.{arn[2]}.{get_aws_domain(arn[2])}")
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
    except ValueError as error:
        raise CallbackSignatureError from error
    try:
        key.verify(signature, notification.string_to_sign, PKCS1v15(), algorithm)
    except InvalidSignature as error:
        raise CallbackSignatureError from error
