"""What Infobip says."""

from otp_service.core.secret import Secret
from otp_service.sms.providers.infobip import Infobip
from tests.sms.providers.provider_contract import SHORT, Contract, Says


def infobip(url: str, **more: object) -> Infobip:
    """An account."""
    return Infobip(**{"api_key": Secret("k3y"), "base_url": url} | more, **SHORT)  # type: ignore[arg-type]


def _status(group: int, number: int, **more: str) -> dict[str, object]:
    status = {
        "groupId": group,
        "groupName": "REJECTED",
        "id": number,
        "name": "REJECTED_X",
        "description": "447400123456 is not good: 864209",
    }
    return {"bulkId": "1", "messages": [{"destination": "447400123456", "status": status} | more]}


CONTRACTS: dict[str, Contract] = {
    "infobip": Contract(
        infobip,
        accepted=Says(200, _status(1, 26, messageId="2250be2d4219-3af1-78856-aabe")),
        message_id="2250be2d4219-3af1-78856-aabe",
        recipient=Says(200, _status(5, 52, messageId="22")),
        recipient_code="status-52",
        account=Says(200, _status(5, 12, messageId="22")),
        account_code="status-12",
        throttled=Says(200, _status(5, 20, messageId="22")),
        throttled_code="status-20",
        unknown=Says(200, _status(5, 96, messageId="22")),
        unknown_code="status-96",
        without_id=Says(200, _status(1, 26)),
    ),
    "infobip, honest statuses": Contract(
        infobip,
        accepted=Says(200, _status(0, 1, messageId="2250be2d4219")),
        message_id="2250be2d4219",
        recipient=Says(200, _status(5, 87, messageId="22")),
        recipient_code="status-87",
        account=Says(401, {"errorCode": "E401", "description": "Unauthorized"}),
        account_code="E401",
        throttled=Says(429, {"errorCode": "E429"}),
        throttled_code="E429",
        unknown=Says(400, {"errorCode": "E400", "violations": [{"property": "to"}]}),
        unknown_code="E400",
        without_id=Says(200, {"messages": []}),
    ),
}
