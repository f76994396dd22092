"""A topic of SNS that signs what it brings, with a certificate of its own."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding

from otp_service.sms.provider_callbacks import Callback


NOW_MS = 1_795_000_000_000
"""The instant of these tests, in milliseconds."""
TOPIC_ARN = "arn:aws:sns:eu-west-1:123456789012:sms-events"
CERTIFICATE_URL = "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-f3ecfb7224c7.pem"
SIGNED_FIELDS = {
    "Notification": "Message MessageId Subject Timestamp TopicArn Type",
    "SubscriptionConfirmation": "Message MessageId SubscribeURL Timestamp Token TopicArn Type",
    "UnsubscribeConfirmation": "Message MessageId SubscribeURL Timestamp Token TopicArn Type",
}


def format_timestamp(milliseconds: int) -> str:
    """An instant as SNS writes it."""
    instant = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return instant.strftime("%Y-%m-%dT%H:%M:%S.") + f"{milliseconds % 1000:03}Z"


class SnsTopic:
    """Signs as AWS says that it does; written from its page, and not from our verifier."""

    def __init__(self, *, days: int = 30) -> None:
        """Make a key, and a certificate that is valid for some days from now on."""
        self._key = generate_private_key(65537, 2048)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "sns.amazonaws.com")])
        begin = datetime.fromtimestamp(NOW_MS / 1000, UTC) - timedelta(days=60)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(1)
            .not_valid_before(begin)
            .not_valid_after(begin + timedelta(days=60 + days))
            .sign(self._key, SHA256())
        )
        self.pem = certificate.public_bytes(Encoding.PEM)

    def sign_fields(self, fields: dict[str, Any]) -> dict[str, Any]:
        """The fields, with a signature over them."""
        names = [name for name in SIGNED_FIELDS[fields["Type"]].split() if name in fields]
        text = "".join(f"{name}\n{fields[name]}\n" for name in names)
        digest = SHA256() if fields["SignatureVersion"] == "2" else SHA1()  # noqa: S303
        signature = self._key.sign(text.encode(), PKCS1v15(), digest)
        return fields | {"Signature": base64.b64encode(signature).decode()}

    def build_notification(self, message: object, **more: object) -> dict[str, Any]:
        """A notification."""
        return self.sign_fields(
            {
                "Type": "Notification",
                "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
                "TopicArn": TOPIC_ARN,
                "Message": message if isinstance(message, str) else json.dumps(message),
                "Timestamp": format_timestamp(NOW_MS - 1000),
                "SignatureVersion": "1",
                "SigningCertURL": CERTIFICATE_URL,
                "UnsubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=Unsubscribe",
            }
            | more
        )

    def build_subscription_confirmation(self, **more: object) -> dict[str, Any]:
        """What comes when an address was subscribed."""
        asked = {
            "Type": "SubscriptionConfirmation",
            "Token": "2336412f37fb687f",
            "SubscribeURL": "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription",
        }
        return self.build_notification("You have chosen to subscribe …", **(asked | more))

    def build_callback(self, body: object, *, has_certificate: bool = True) -> Callback:
        """The request that brings it, together with the certificate."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        found = {CERTIFICATE_URL: self.pem} if has_certificate else {}
        headers = {"content-type": "text/plain; charset=UTF-8"}
        url = "https://otp.example/v1/callbacks/aws"
        return Callback("POST", url, headers, content, NOW_MS, found)
