"""What Sinch says."""

from otp_service.core.secret import Secret
from otp_service.sms.providers.sinch import Sinch, SinchAt
from tests.sms.providers.provider_contract import SHORT, Contract, Says


NOW = 1_790_000_000_000


def sinch(url: str, **more: object) -> SinchAt:
    """A service plan, at a fixed time."""
    settings = {"service_plan_id": "plan1", "api_token": Secret("t0ken"), "base_url": url} | more
    return Sinch(**settings, **SHORT).at(lambda: NOW)  # type: ignore[arg-type]


def _error(code: str) -> dict[str, object]:
    return {"code": code, "text": "+447400123456 is not good: 864209"}


CONTRACTS: dict[str, Contract] = {
    "sinch": Contract(
        sinch,
        accepted=Says(201, {"id": "01FC66621XXXXX119Z8PMV1QPU", "to": ["447400123456"]}),
        message_id="01FC66621XXXXX119Z8PMV1QPU",
        recipient=None,
        recipient_code="",
        account=Says(403, _error("blocked_account")),
        account_code="blocked_account",
        throttled=Says(429, b""),
        throttled_code="http-429",
        unknown=Says(400, _error("syntax_constraint_violation")),
        unknown_code="syntax_constraint_violation",
        without_id=Says(201, {"to": []}),
    )
}
