"""What Clickatell's One API says."""

from otp_service.core.secret import Secret
from otp_service.sms.providers.clickatell import Clickatell
from tests.sms.providers.provider_contract import SHORT, Contract, Says


def clickatell(url: str) -> Clickatell:
    """An integration."""
    return Clickatell(base_url=url, key=Secret("k3y=="), **SHORT)


def _one(
    code: int | None, *, accepted: bool = False, known: str | None = None
) -> dict[str, object]:
    error = code and {"code": code, "description": "+447400123456: 864209 is not good"}
    message = {"apiMessageId": known, "accepted": accepted, "to": "447400123456", "error": error}
    return {"messages": [message], "error": None}


CONTRACTS = {
    "clickatell": Contract(
        clickatell,
        accepted=Says(202, _one(None, accepted=True, known="fd496adebb6e422587368077937cfb5d")),
        message_id="fd496adebb6e422587368077937cfb5d",
        recipient=Says(400, _one(25)),
        recipient_code="25",
        account=Says(402, _one(20)),
        account_code="20",
        throttled=Says(400, _one(43)),
        throttled_code="43",
        unknown=Says(400, _one(24)),
        unknown_code="24",
        without_id=Says(202, _one(None, accepted=True)),
    )
}
