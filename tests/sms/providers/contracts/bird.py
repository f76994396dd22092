"""Replies and receipts of Bird."""

from otp_service.core.secret import Secret
from otp_service.sms.providers.bird import Bird
from tests.sms.providers.provider_contract import SHORT_TIMEOUTS, GatewayReply, ProviderContract


def create_bird(url: str, **more: object) -> Bird:
    """A workspace."""
    return Bird(**{"api_key": Secret("bk_eu1_k3y"), "base_url": url} | more, **SHORT_TIMEOUTS)  # type: ignore[arg-type]


def _build_error(kind: str, name: str) -> dict[str, object]:
    said = {"type": kind, "name": name, "code": "x", "message": "+447400123456: 864209"}
    return {"error": said}


CONTRACTS: dict[str, ProviderContract] = {
    "bird": ProviderContract(
        create_bird,
        accepted=GatewayReply(202, {"id": "sms_01krdgeqcxet5s7t44vh8rt9mg", "status": "accepted"}),
        message_id="sms_01krdgeqcxet5s7t44vh8rt9mg",
        recipient=GatewayReply(422, _build_error("validation_error", "SMSInvalidRecipient")),
        recipient_code="SMSInvalidRecipient",
        account=GatewayReply(422, _build_error("validation_error", "SMSNoEligibleSender")),
        account_code="SMSNoEligibleSender",
        throttled=GatewayReply(429, _build_error("rate_limit_error", "RateLimited")),
        throttled_code="RateLimited",
        unknown=GatewayReply(422, _build_error("validation_error", "SMSUnsupportedFeature")),
        unknown_code="SMSUnsupportedFeature",
        without_id=GatewayReply(202, {"status": "accepted"}),
    )
}
