"""What AWS End User Messaging says."""

from otp_service.core.secret import Secret
from otp_service.sms.providers.aws import Aws
from tests.sms.providers.provider_contract import SHORT, Contract, Says


def aws(url: str) -> Aws:
    """An account."""
    return Aws(
        base_url=url,
        region="eu-west-1",
        access_key_id=Secret("AKIDEXAMPLE"),
        secret_access_key=Secret("hunter2"),
        **SHORT,
    )


def _error(kind: str, reason: str | None = None) -> dict[str, str]:
    error = {
        "__type": f"com.amazonaws.pinpointsmsvoicev2#{kind}",
        "Message": "+447400123456 is not good: 864209",
    }
    return error | ({"Reason": reason} if reason else {})


CONTRACTS = {
    "aws": Contract(
        aws,
        accepted=Says(200, {"MessageId": "862a8790-60c0-4430"}),
        message_id="862a8790-60c0-4430",
        recipient=Says(400, _error("ConflictException", "DESTINATION_PHONE_NUMBER_OPTED_OUT")),
        recipient_code="DESTINATION_PHONE_NUMBER_OPTED_OUT",
        account=Says(
            400, _error("ServiceQuotaExceededException", "MONTHLY_SPEND_LIMIT_REACHED_FOR_TEXT")
        ),
        account_code="MONTHLY_SPEND_LIMIT_REACHED_FOR_TEXT",
        throttled=Says(400, _error("ThrottlingException")),
        throttled_code="ThrottlingException",
        unknown=Says(400, _error("ValidationException", "OTHER")),
        unknown_code="OTHER",
        without_id=Says(200, {}),
    )
}
