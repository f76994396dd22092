"""Two gateways that the generic provider speaks to."""

from otp_service.core.delivery import RefusalScope
from otp_service.sms.providers.generic_http import Acceptance, GenericHttp
from tests.sms.providers.provider_contract import SHORT_TIMEOUTS, GatewayReply, ProviderContract


def create_json_gateway(url: str) -> GenericHttp:
    """A gateway with JSON and honest statuses."""
    return GenericHttp(
        url=url,
        fields={"to": "{to}", "text": "{text}"},
        message_id="message.id",
        code="error.code",
        recipient_codes=frozenset({21211, "no-such-number"}),
        provider_codes=frozenset({20003}),
        throttled_codes=frozenset({20429}),
        **SHORT_TIMEOUTS,
    )


def create_form_gateway(url: str) -> GenericHttp:
    """A gateway that takes a form, and says 200 whatever it means."""
    return GenericHttp(
        url=url,
        body="form",
        fields={"to": "{to_digits}", "text": "{text}", "from": "{from}"},
        accepted=Acceptance(path="messages.0.status", values=frozenset({0})),
        message_id="messages.0.message-id",
        code="messages.0.status",
        recipient_codes=frozenset({"7", "33"}),
        provider_codes=frozenset({"2", "9"}),
        throttled_codes=frozenset({"1"}),
        **SHORT_TIMEOUTS,
    )


def _build_error(code: object) -> dict[str, object]:
    return {"error": {"code": code, "text": "+447400123456 is not good: 864209"}}


def _build_status(status: str, **more: str) -> dict[str, object]:
    return {"message-count": "1", "messages": [{"status": status, **more}]}


CONTRACTS = {
    "http": ProviderContract(
        create_json_gateway,
        accepted=GatewayReply(201, {"message": {"id": "SM-1"}}),
        message_id="SM-1",
        recipient=GatewayReply(400, _build_error(21211)),
        recipient_code="21211",
        account=GatewayReply(401, _build_error(20003)),
        account_code="20003",
        throttled=GatewayReply(429, _build_error(20429)),
        throttled_code="20429",
        unknown=GatewayReply(400, _build_error("E-77")),
        unknown_code="E-77",
        without_id=GatewayReply(201, {"message": {}}),
    ),
    "http, always 200": ProviderContract(
        create_form_gateway,
        accepted=GatewayReply(200, _build_status("0", **{"message-id": "0A00000001"})),
        message_id="0A00000001",
        recipient=GatewayReply(200, _build_status("7")),
        recipient_code="7",
        account=GatewayReply(200, _build_status("9")),
        account_code="9",
        throttled=GatewayReply(200, _build_status("1")),
        throttled_code="1",
        unknown=GatewayReply(200, _build_status("99")),
        unknown_code="99",
        taken_without_id=GatewayReply(200, _build_status("0")),
        account_scope=RefusalScope.MESSAGE,
    ),
}
