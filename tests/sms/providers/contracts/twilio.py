"""Twilio: {"sid"} or {"code", "message", "more_info", "status"}, as its OpenAPI document has them."""

from otp_service.core.secret import Secret
from otp_service.sms.providers.twilio import Twilio
from tests.sms.providers.provider_contract import SHORT_TIMEOUTS, GatewayReply, ProviderContract


MESSAGE_SID = "SM0123456789abcdef0123456789abcdef"


def create_twilio(url: str) -> Twilio:
    """An account that is opened by its token."""
    return Twilio(
        base_url=url,
        account_sid="AC0123456789abcdef0123456789abcdef",
        auth_token=Secret("12345"),
        sender="+15005550006",
        **SHORT_TIMEOUTS,
    )


def _build_error(code: int, status: int) -> GatewayReply:
    message = "The number +447400123456 is not good for '864209 is your Example code.'"
    return GatewayReply(
        status, {"code": code, "message": message, "more_info": "…", "status": status}
    )


CONTRACTS = {
    "twilio": ProviderContract(
        create_twilio,
        accepted=GatewayReply(201, {"sid": MESSAGE_SID, "status": "queued", "error_code": None}),
        message_id=MESSAGE_SID,
        recipient=_build_error(21211, 400),
        recipient_code="21211",
        account=_build_error(20003, 401),
        account_code="20003",
        throttled=_build_error(20429, 429),
        throttled_code="20429",
        unknown=_build_error(21999, 400),
        unknown_code="21999",
        without_id=GatewayReply(201, {"status": "queued"}),
    )
}
