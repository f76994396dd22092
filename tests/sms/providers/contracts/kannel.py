"""Kannel: prose, as smsbox 1.4.5 of Debian says it."""

from otp_service.core.secret import Secret
from otp_service.sms.providers.kannel import Kannel
from tests.sms.providers.provider_contract import SHORT, Contract, Says


def kannel(url: str) -> Kannel:
    """A smsbox."""
    return Kannel(base_url=url, username="tester", password=Secret("foobar"), **SHORT)


CONTRACTS = {
    "kannel": Contract(
        kannel,
        accepted=Says(202, b"0: Accepted for delivery"),
        message_id=None,
        recipient=Says(400, b"Number(s) has/have been denied by white- and/or black-lists."),
        recipient_code="number-denied",
        account=Says(403, b"Authorization failed for sendsms"),
        account_code="authorization-failed",
        throttled=Says(503, b"Temporal failure, try again later."),
        throttled_code="temporal-failure",
        unknown=Says(400, b"Charset or body misformed, rejected"),
        unknown_code="http-400",
    )
}
