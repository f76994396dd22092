"""Replies and receipts of Sinch."""

from otp_service.core.secret import Secret
from otp_service.sms.providers.sinch import Sinch, SinchWithClock
from tests.sms.providers.provider_contract import SHORT_TIMEOUTS, GatewayReply, ProviderContract


NOW_MS = 1_790_000_000_000


def create_sinch(url: str, **more: object) -> SinchWithClock:
    """A service plan, at a fixed time."""
    settings = {"service_plan_id": "plan1", "api_token": Secret("t0ken"), "base_url": url} | more
    return Sinch(**settings, **SHORT_TIMEOUTS).with_clock(lambda: NOW_MS)  # type: ignore[arg-type]


def _build_error(code: str) -> dict[str, object]:
    return {"code": code, "text": "+447400123456 is not good: 864209"}


CONTRACTS: dict[str, ProviderContract] = {
    "sinch": ProviderContract(
        create_sinch,
        accepted=GatewayReply(201, {"id": "01FC66621XXXXX119Z8PMV1QPU", "to": ["447400123456"]}),
        message_id="01FC66621XXXXX119Z8PMV1QPU",
        recipient=None,
        recipient_code="",
        account=GatewayReply(403, _build_error("blocked_account")),
        account_code="blocked_account",
        throttled=GatewayReply(429, b""),
        throttled_code="http-429",
        unknown=GatewayReply(400, _build_error("syntax_constraint_violation")),
        unknown_code="syntax_constraint_violation",
        without_id=GatewayReply(201, {"to": []}),
    )
}
