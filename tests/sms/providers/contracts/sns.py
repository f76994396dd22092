"""Replies and receipts of Amazon SNS."""

from otp_service.core.secret import Secret
from otp_service.sms.providers.sns import Sns
from tests.sms.providers.provider_contract import SHORT_TIMEOUTS, GatewayReply, ProviderContract


def create_sns(url: str) -> Sns:
    """An account."""
    return Sns(
        base_url=url,
        region="eu-west-1",
        access_key_id=Secret("AKIDEXAMPLE"),
        secret_access_key=Secret("hunter2"),
        **SHORT_TIMEOUTS,
    )


def _build_error(code: str, text: str = "864209 is not good") -> bytes:
    return (
        '<ErrorResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/">'
        f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{text}</Message></Error>"
        "<RequestId>9be1d26e-a0a3</RequestId></ErrorResponse>"
    ).encode()


def _build_publish_reply(content: str) -> bytes:
    return (
        '<PublishResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/">'
        f"<PublishResult>{content}</PublishResult>"
        "<ResponseMetadata><RequestId>d74b8436</RequestId></ResponseMetadata></PublishResponse>"
    ).encode()


CONTRACTS = {
    "sns": ProviderContract(
        create_sns,
        accepted=GatewayReply(
            200, _build_publish_reply("<MessageId>567910cd-659e-55d4</MessageId>")
        ),
        message_id="567910cd-659e-55d4",
        recipient=GatewayReply(
            400,
            _build_error(
                "InvalidParameter",
                "Invalid parameter: PhoneNumber Reason: +447400123456 is not valid to publish to",
            ),
        ),
        recipient_code="InvalidParameter",
        account=GatewayReply(403, _build_error("AuthorizationError")),
        account_code="AuthorizationError",
        throttled=GatewayReply(400, _build_error("Throttling")),
        throttled_code="Throttling",
        unknown=GatewayReply(
            400, _build_error("InvalidParameter", "Invalid parameter: Message too long")
        ),
        unknown_code="InvalidParameter",
        without_id=GatewayReply(200, _build_publish_reply("")),
    )
}
