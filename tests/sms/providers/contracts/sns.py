"""What Amazon SNS says."""

from otp_service.core.secret import Secret
from otp_service.sms.providers.sns import Sns
from tests.sms.providers.provider_contract import SHORT, Contract, Says


def sns(url: str) -> Sns:
    """An account."""
    return Sns(
        base_url=url,
        region="eu-west-1",
        access_key_id=Secret("AKIDEXAMPLE"),
        secret_access_key=Secret("hunter2"),
        **SHORT,
    )


def _error(code: str, text: str = "864209 is not good") -> bytes:
    return (
        '<ErrorResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/">'
        f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{text}</Message></Error>"
        "<RequestId>9be1d26e-a0a3</RequestId></ErrorResponse>"
    ).encode()


def _published(inside: str) -> bytes:
    return (
        '<PublishResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/">'
        f"<PublishResult>{inside}</PublishResult>"
        "<ResponseMetadata><RequestId>d74b8436</RequestId></ResponseMetadata></PublishResponse>"
    ).encode()


CONTRACTS = {
    "sns": Contract(
        sns,
        accepted=Says(200, _published("<MessageId>567910cd-659e-55d4</MessageId>")),
        message_id="567910cd-659e-55d4",
        recipient=Says(
            400,
            _error(
                "InvalidParameter",
                "Invalid parameter: PhoneNumber Reason: +447400123456 is not valid to publish to",
            ),
        ),
        recipient_code="InvalidParameter",
        account=Says(403, _error("AuthorizationError")),
        account_code="AuthorizationError",
        throttled=Says(400, _error("Throttling")),
        throttled_code="Throttling",
        unknown=Says(400, _error("InvalidParameter", "Invalid parameter: Message too long")),
        unknown_code="InvalidParameter",
        without_id=Says(200, _published("")),
    )
}
