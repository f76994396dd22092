"""Two gateways that the generic provider speaks to."""

from otp_service.core.delivery import About
from otp_service.sms.providers.generic_http import Acceptance, Http
from tests.sms.providers.provider_contract import SHORT, Contract, Says


def plain(url: str) -> Http:
    """A gateway with JSON and honest statuses."""
    return Http(
        url=url,
        fields={"to": "{to}", "text": "{text}"},
        message_id="message.id",
        code="error.code",
        recipient_codes=frozenset({21211, "no-such-number"}),
        provider_codes=frozenset({20003}),
        throttled_codes=frozenset({20429}),
        **SHORT,
    )


def always_200(url: str) -> Http:
    """A gateway that takes a form, and says 200 whatever it means."""
    return Http(
        url=url,
        body="form",
        fields={"to": "{to_digits}", "text": "{text}", "from": "{from}"},
        accepted=Acceptance(path="messages.0.status", values=frozenset({0})),
        message_id="messages.0.message-id",
        code="messages.0.status",
        recipient_codes=frozenset({"7", "33"}),
        provider_codes=frozenset({"2", "9"}),
        throttled_codes=frozenset({"1"}),
        **SHORT,
    )


def _error(code: object) -> dict[str, object]:
    return {"error": {"code": code, "text": "+447400123456 is not good: 864209"}}


def _status(status: str, **more: str) -> dict[str, object]:
    return {"message-count": "1", "messages": [{"status": status, **more}]}


CONTRACTS = {
    "http": Contract(
        plain,
        accepted=Says(201, {"message": {"id": "SM-1"}}),
        message_id="SM-1",
        recipient=Says(400, _error(21211)),
        recipient_code="21211",
        account=Says(401, _error(20003)),
        account_code="20003",
        throttled=Says(429, _error(20429)),
        throttled_code="20429",
        unknown=Says(400, _error("E-77")),
        unknown_code="E-77",
        without_id=Says(201, {"message": {}}),
    ),
    "http, always 200": Contract(
        always_200,
        accepted=Says(200, _status("0", **{"message-id": "0A00000001"})),
        message_id="0A00000001",
        recipient=Says(200, _status("7")),
        recipient_code="7",
        account=Says(200, _status("9")),
        account_code="9",
        throttled=Says(200, _status("1")),
        throttled_code="1",
        unknown=Says(200, _status("99")),
        unknown_code="99",
        without_id=Says(200, _status("0")),
        account_about=About.MESSAGE,
    ),
}
