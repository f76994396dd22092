"""Replies and receipts of AWS End User Messaging."""

from otp_service.core.secret import Secret
from otp_service.sms.providers.aws import Aws
from tests.sms.providers.provider_contract import SHORT_TIMEOUTS, GatewayReply, ProviderContract


BLOCKED_NUMBER_REASON = "DESTINATION_PHONE_NUMBER_BLOCKED_BY_PROTECT_NUMBER_OVERRIDE"


def create_aws(url: str) -> Aws:
    """An account."""
    return Aws(
        base_url=url,
        region="eu-west-1",
        access_key_id=Secret("AKIDEXAMPLE"),
        secret_access_key=Secret("hunter2"),
        **SHORT_TIMEOUTS,
    )


def _build_error(kind: str, reason: str | None = None) -> dict[str, str]:
    error = {
        "__type": f"com.amazonaws.pinpointsmsvoicev2#{kind}",
        "Message": "+447400123456 is not good: 864209",
    }
    return error | ({"Reason": reason} if reason else {})


CONTRACTS = {
    "aws": ProviderContract(
        create_aws,
        accepted=GatewayReply(200, {"MessageId": "862a8790-60c0-4430"}),
        message_id="862a8790-60c0-4430",
        recipient=GatewayReply(400, _build_error("ConflictException", BLOCKED_NUMBER_REASON)),
        recipient_code=BLOCKED_NUMBER_REASON,
        account=GatewayReply(
            400,
            _build_error("ServiceQuotaExceededException", "MONTHLY_SPEND_LIMIT_REACHED_FOR_TEXT"),
        ),
        account_code="MONTHLY_SPEND_LIMIT_REACHED_FOR_TEXT",
        throttled=GatewayReply(400, _build_error("ThrottlingException")),
        throttled_code="ThrottlingException",
        unknown=GatewayReply(400, _build_error("ValidationException", "OTHER")),
        unknown_code="OTHER",
        without_id=GatewayReply(200, {}),
    )
}
