"""Replies and receipts of Plivo."""

from otp_service.core.secret import Secret
from otp_service.sms.providers.plivo import Plivo
from tests.sms.providers.provider_contract import SHORT_TIMEOUTS, GatewayReply, ProviderContract


AUTH_ID = "MAXXXXXXXXXXXXXXXXXX"


def create_plivo(url: str, **more: object) -> Plivo:
    """An account."""
    settings = {"auth_id": AUTH_ID, "auth_token": Secret("t0ken"), "base_url": url} | more
    return Plivo(**settings, **SHORT_TIMEOUTS)  # type: ignore[arg-type]


def _build_error(text: str) -> dict[str, str]:
    return {"api_id": "97ceeb52-58b6", "error": text}


CONTRACTS: dict[str, ProviderContract] = {
    "plivo": ProviderContract(
        create_plivo,
        accepted=GatewayReply(
            202, {"message": "message(s) queued", "message_uuid": ["db3ce55a-7f1d"]}
        ),
        message_id="db3ce55a-7f1d",
        recipient=None,
        recipient_code="",
        account=GatewayReply(401, b"Could not verify your access level for that URL."),
        account_code="http-401",
        throttled=GatewayReply(429, _build_error("too many requests")),
        throttled_code="http-429",
        unknown=GatewayReply(400, _build_error("invalid destination number 447400123456")),
        unknown_code="http-400",
        without_id=GatewayReply(202, {"message": "message(s) queued", "message_uuid": []}),
    )
}
