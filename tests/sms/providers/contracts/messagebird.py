"""What MessageBird says."""

from otp_service.core.secret import Secret
from otp_service.sms.providers.messagebird import MessageBird
from tests.sms.providers.provider_contract import SHORT, Contract, Says


def messagebird(url: str, **more: object) -> MessageBird:
    """An account."""
    return MessageBird(**{"access_key": Secret("k3y"), "base_url": url} | more, **SHORT)  # type: ignore[arg-type]


def _error(code: int, parameter: str | None = None) -> dict[str, object]:
    said = {"code": code, "description": "447400123456: 864209", "parameter": parameter}
    return {"errors": [said]}


CONTRACTS: dict[str, Contract] = {
    "messagebird": Contract(
        messagebird,
        accepted=Says(201, {"id": "e8077d803532c0b5937c639b60216938", "recipients": {}}),
        message_id="e8077d803532c0b5937c639b60216938",
        recipient=Says(422, _error(9, "recipients")),
        recipient_code="9",
        account=Says(422, _error(25)),
        account_code="25",
        throttled=Says(429, _error(101)),
        throttled_code="101",
        unknown=Says(422, _error(10, "type")),
        unknown_code="10",
        without_id=Says(201, {"recipients": {}}),
    ),
    "messagebird, the originator": Contract(
        messagebird,
        accepted=Says(201, {"id": "e8077d80"}),
        message_id="e8077d80",
        recipient=Says(400, _error(9, "recipients")),
        recipient_code="9",
        account=Says(422, _error(9, "originator")),
        account_code="9",
        throttled=Says(429, b""),
        throttled_code="http-429",
        unknown=Says(422, {"errors": []}),
        unknown_code="http-422",
        without_id=Says(201, {"id": ""}),
    ),
}
