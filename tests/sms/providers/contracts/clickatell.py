"""Replies and receipts of Clickatell's One API."""

from otp_service.core.secret import Secret
from otp_service.sms.providers.clickatell import Clickatell
from tests.sms.providers.provider_contract import SHORT_TIMEOUTS, GatewayReply, ProviderContract


def create_clickatell(url: str) -> Clickatell:
    """An integration."""
    return Clickatell(base_url=url, key=Secret("k3y=="), **SHORT_TIMEOUTS)


def _build_reply(
    code: int | None, *, accepted: bool = False, message_id: str | None = None
) -> dict[str, object]:
    error = code and {"code": code, "description": "+447400123456: 864209 is not good"}
    message = {
        "apiMessageId": message_id,
        "accepted": accepted,
        "to": "447400123456",
        "error": error,
    }
    return {"messages": [message], "error": None}


CONTRACTS = {
    "clickatell": ProviderContract(
        create_clickatell,
        accepted=GatewayReply(
            202, _build_reply(None, accepted=True, message_id="fd496adebb6e422587368077937cfb5d")
        ),
        message_id="fd496adebb6e422587368077937cfb5d",
        recipient=GatewayReply(400, _build_reply(25)),
        recipient_code="25",
        account=GatewayReply(402, _build_reply(20)),
        account_code="20",
        throttled=GatewayReply(400, _build_reply(43)),
        throttled_code="43",
        unknown=GatewayReply(400, _build_reply(24)),
        unknown_code="24",
        taken_without_id=GatewayReply(202, _build_reply(None, accepted=True)),
    )
}
