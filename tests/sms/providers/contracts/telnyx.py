"""What Telnyx says."""

from otp_service.core.secret import Secret
from otp_service.sms.providers.telnyx import Telnyx
from tests.sms.providers.provider_contract import SHORT, Contract, Says


def telnyx(url: str, **more: object) -> Telnyx:
    """An account."""
    return Telnyx(**{"api_key": Secret("k3y"), "base_url": url} | more, **SHORT)  # type: ignore[arg-type]


def _error(code: str, title: str = "Not good") -> dict[str, object]:
    return {"errors": [{"code": code, "title": title, "detail": "+447400123456: 864209"}]}


CONTRACTS: dict[str, Contract] = {
    "telnyx": Contract(
        telnyx,
        accepted=Says(200, {"data": {"id": "40385f64-5717", "to": [{"status": "queued"}]}}),
        message_id="40385f64-5717",
        recipient=Says(400, _error("40310")),
        recipient_code="40310",
        account=Says(403, _error("20100")),
        account_code="20100",
        throttled=Says(429, _error("10011")),
        throttled_code="10011",
        unknown=Says(422, _error("40300", "Blocked by the profile")),
        unknown_code="40300",
        without_id=Says(200, {"data": {}}),
    ),
    "telnyx, stopped": Contract(
        telnyx,
        accepted=Says(200, {"data": {"id": "40385f64-5717"}}),
        message_id="40385f64-5717",
        recipient=Says(400, _error("40300", "Blocked due to STOP message")),
        recipient_code="40300",
        account=Says(401, _error("10009")),
        account_code="10009",
        throttled=Says(400, _error("40318")),
        throttled_code="40318",
        unknown=Says(400, {"errors": []}),
        unknown_code="http-400",
        without_id=Says(200, {"data": None}),
    ),
}
