"""What Plivo says."""

from otp_service.core.secret import Secret
from otp_service.sms.providers.plivo import Plivo
from tests.sms.providers.provider_contract import SHORT, Contract, Says


AUTH_ID = "MAXXXXXXXXXXXXXXXXXX"


def plivo(url: str, **more: object) -> Plivo:
    """An account."""
    settings = {"auth_id": AUTH_ID, "auth_token": Secret("t0ken"), "base_url": url} | more
    return Plivo(**settings, **SHORT)  # type: ignore[arg-type]


def _error(text: str) -> dict[str, str]:
    return {"api_id": "97ceeb52-58b6", "error": text}


CONTRACTS: dict[str, Contract] = {
    "plivo": Contract(
        plivo,
        accepted=Says(202, {"message": "message(s) queued", "message_uuid": ["db3ce55a-7f1d"]}),
        message_id="db3ce55a-7f1d",
        recipient=None,
        recipient_code="",
        account=Says(401, b"Could not verify your access level for that URL."),
        account_code="http-401",
        throttled=Says(429, _error("too many requests")),
        throttled_code="http-429",
        unknown=Says(400, _error("invalid destination number 447400123456")),
        unknown_code="http-400",
        without_id=Says(202, {"message": "message(s) queued", "message_uuid": []}),
    )
}
