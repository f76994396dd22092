"""Replies and receipts of MessageBird."""

from otp_service.core.secret import Secret
from otp_service.sms.providers.messagebird import MessageBird
from tests.sms.providers.provider_contract import SHORT_TIMEOUTS, GatewayReply, ProviderContract


def create_messagebird(url: str, **more: object) -> MessageBird:
    """An account."""
    return MessageBird(**{"access_key": Secret("k3y"), "base_url": url} | more, **SHORT_TIMEOUTS)  # type: ignore[arg-type]


def _build_error(code: int, parameter: str | None = None) -> dict[str, object]:
    said = {"code": code, "description": "447400123456: 864209", "parameter": parameter}
    return {"errors": [said]}


CONTRACTS: dict[str, ProviderContract] = {
    "messagebird": ProviderContract(
        create_messagebird,
        accepted=GatewayReply(201, {"id": "e8077d803532c0b5937c639b60216938", "recipients": {}}),
        message_id="e8077d803532c0b5937c639b60216938",
        recipient=GatewayReply(422, _build_error(9, "recipients")),
        recipient_code="9",
        account=GatewayReply(422, _build_error(25)),
        account_code="25",
        throttled=GatewayReply(429, _build_error(101)),
        throttled_code="101",
        unknown=GatewayReply(422, _build_error(10, "type")),
        unknown_code="10",
        without_id=GatewayReply(201, {"recipients": {}}),
    ),
    "messagebird, the originator": ProviderContract(
        create_messagebird,
        accepted=GatewayReply(201, {"id": "e8077d80"}),
        message_id="e8077d80",
        recipient=GatewayReply(400, _build_error(9, "recipients")),
        recipient_code="9",
        account=GatewayReply(422, _build_error(9, "originator")),
        account_code="9",
        throttled=GatewayReply(429, b""),
        throttled_code="http-429",
        unknown=GatewayReply(422, {"errors": []}),
        unknown_code="http-422",
        without_id=GatewayReply(201, {"id": ""}),
    ),
}
