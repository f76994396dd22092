"""Replies and receipts of Telnyx."""

from otp_service.core.secret import Secret
from otp_service.sms.providers.telnyx import Telnyx
from tests.sms.providers.provider_contract import SHORT_TIMEOUTS, GatewayReply, ProviderContract


def create_telnyx(url: str, **more: object) -> Telnyx:
    """An account."""
    return Telnyx(**{"api_key": Secret("k3y"), "base_url": url} | more, **SHORT_TIMEOUTS)  # type: ignore[arg-type]


def _build_error(code: str, title: str = "Not good") -> dict[str, object]:
    return {"errors": [{"code": code, "title": title, "detail": "+447400123456: 864209"}]}


CONTRACTS: dict[str, ProviderContract] = {
    "telnyx": ProviderContract(
        create_telnyx,
        accepted=GatewayReply(200, {"data": {"id": "40385f64-5717", "to": [{"status": "queued"}]}}),
        message_id="40385f64-5717",
        recipient=GatewayReply(400, _build_error("40310")),
        recipient_code="40310",
        account=GatewayReply(403, _build_error("20100")),
        account_code="20100",
        throttled=GatewayReply(429, _build_error("10011")),
        throttled_code="10011",
        unknown=GatewayReply(422, _build_error("40300", "Blocked by the profile")),
        unknown_code="40300",
        without_id=GatewayReply(200, {"data": {}}),
    ),
    "telnyx, stopped": ProviderContract(
        create_telnyx,
        accepted=GatewayReply(200, {"data": {"id": "40385f64-5717"}}),
        message_id="40385f64-5717",
        recipient=GatewayReply(400, _build_error("40300", "Blocked due to STOP message")),
        recipient_code="recipient_opted_out",
        account=GatewayReply(401, _build_error("10009")),
        account_code="10009",
        throttled=GatewayReply(400, _build_error("40318")),
        throttled_code="40318",
        unknown=GatewayReply(400, {"errors": []}),
        unknown_code="http-400",
        without_id=GatewayReply(200, {"data": None}),
    ),
}
