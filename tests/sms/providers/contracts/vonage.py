"""Vonage's two APIs: one says 200 whatever it means, the other answers with problems (RFC 7807)."""

from otp_service.core.secret import Secret
from otp_service.sms.providers.vonage import Vonage
from otp_service.sms.providers.vonage_messages import VonageMessages
from tests.sms.providers.provider_contract import SHORT_TIMEOUTS, GatewayReply, ProviderContract


MESSAGE_UUID = "aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab"


def create_vonage(url: str) -> Vonage:
    """An account for the SMS API."""
    return Vonage(
        base_url=url,
        api_key="abcd1234",
        api_secret=Secret("s3"),
        sender="Example",
        **SHORT_TIMEOUTS,
    )


def create_vonage_messages(url: str) -> VonageMessages:
    """The same account for the Messages API."""
    return VonageMessages(
        base_url=url,
        api_key="abcd1234",
        api_secret=Secret("s3"),
        sender="Example",
        **SHORT_TIMEOUTS,
    )


def _build_status(status: str, **more: str) -> GatewayReply:
    part = {"to": "447400123456", "status": status, "error-text": "864209 is not good", **more}
    return GatewayReply(200, {"message-count": "1", "messages": [part]})


def _build_problem(status: int, code: str) -> GatewayReply:
    kind = f"https://developer.vonage.com/api-errors/messages#{code}"
    return GatewayReply(
        status, {"type": kind, "title": "No", "detail": "447400123456", "instance": "i"}
    )


CONTRACTS = {
    "vonage": ProviderContract(
        create_vonage,
        accepted=_build_status("0", **{"message-id": "0A0000000123ABCD1"}),
        message_id="0A0000000123ABCD1",
        recipient=_build_status("7"),
        recipient_code="7",
        account=_build_status("9"),
        account_code="9",
        throttled=_build_status("1"),
        throttled_code="1",
        unknown=_build_status("99"),
        unknown_code="99",
        taken_without_id=_build_status("0"),
    ),
    "vonage-messages": ProviderContract(
        create_vonage_messages,
        accepted=GatewayReply(202, {"message_uuid": MESSAGE_UUID}),
        message_id=MESSAGE_UUID,
        recipient=_build_problem(422, "1050"),
        recipient_code="1050",
        account=_build_problem(422, "1120"),
        account_code="1120",
        throttled=_build_problem(429, "1000"),
        throttled_code="1000",
        unknown=_build_problem(422, "1150"),
        unknown_code="1150",
        without_id=GatewayReply(202, {"workflow_id": MESSAGE_UUID}),
    ),
}
