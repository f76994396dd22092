"""Replies and receipts of Infobip."""

from otp_service.core.secret import Secret
from otp_service.sms.providers.infobip import Infobip
from tests.sms.providers.provider_contract import SHORT_TIMEOUTS, GatewayReply, ProviderContract


def create_infobip(url: str, **more: object) -> Infobip:
    """An account."""
    return Infobip(**{"api_key": Secret("k3y"), "base_url": url} | more, **SHORT_TIMEOUTS)  # type: ignore[arg-type]


def _build_status(group: int, number: int, **more: str) -> dict[str, object]:
    status = {
        "groupId": group,
        "groupName": "REJECTED",
        "id": number,
        "name": "REJECTED_X",
        "description": "447400123456 is not good: 864209",
    }
    return {"bulkId": "1", "messages": [{"destination": "447400123456", "status": status} | more]}


CONTRACTS: dict[str, ProviderContract] = {
    "infobip": ProviderContract(
        create_infobip,
        accepted=GatewayReply(200, _build_status(1, 26, messageId="2250be2d4219-3af1-78856-aabe")),
        message_id="2250be2d4219-3af1-78856-aabe",
        recipient=GatewayReply(200, _build_status(5, 52, messageId="22")),
        recipient_code="status-52",
        account=GatewayReply(200, _build_status(5, 12, messageId="22")),
        account_code="status-12",
        throttled=GatewayReply(200, _build_status(5, 20, messageId="22")),
        throttled_code="status-20",
        unknown=GatewayReply(200, _build_status(5, 96, messageId="22")),
        unknown_code="status-96",
        taken_without_id=GatewayReply(200, _build_status(1, 26)),
    ),
    "infobip, honest statuses": ProviderContract(
        create_infobip,
        accepted=GatewayReply(200, _build_status(0, 1, messageId="2250be2d4219")),
        message_id="2250be2d4219",
        recipient=GatewayReply(200, _build_status(5, 87, messageId="22")),
        recipient_code="status-87",
        account=GatewayReply(401, {"errorCode": "E401", "description": "Unauthorized"}),
        account_code="E401",
        throttled=GatewayReply(429, {"errorCode": "E429"}),
        throttled_code="E429",
        unknown=GatewayReply(400, {"errorCode": "E400", "violations": [{"property": "to"}]}),
        unknown_code="E400",
        without_id=GatewayReply(200, {"messages": []}),
    ),
}
