"""Kannel: prose, as smsbox 1.4.5 of Debian says it."""

from otp_service.core.secret import Secret
from otp_service.sms.providers.kannel import Kannel
from tests.sms.providers.provider_contract import SHORT_TIMEOUTS, GatewayReply, ProviderContract


def create_kannel(url: str) -> Kannel:
    """A smsbox."""
    return Kannel(base_url=url, username="tester", password=Secret("foobar"), **SHORT_TIMEOUTS)


CONTRACTS = {
    "kannel": ProviderContract(
        create_kannel,
        accepted=GatewayReply(202, b"0: Accepted for delivery"),
        message_id=None,
        recipient=GatewayReply(
            400, b"Number(s) has/have been denied by white- and/or black-lists."
        ),
        recipient_code="number-denied",
        account=GatewayReply(403, b"Authorization failed for sendsms"),
        account_code="authorization-failed",
        throttled=GatewayReply(503, b"Temporal failure, try again later."),
        throttled_code="temporal-failure",
        unknown=GatewayReply(400, b"Charset or body misformed, rejected"),
        unknown_code="http-400",
    )
}
