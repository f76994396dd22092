"""Jasmin: prose, as the errors of its HTTP API have it (jasmin/protocols/http of 0.11)."""

from otp_service.core.secret import Secret
from otp_service.sms.providers.jasmin import Jasmin
from tests.sms.providers.provider_contract import SHORT_TIMEOUTS, GatewayReply, ProviderContract


MESSAGE_ID = "07033084-5cfd-4812-90a4-e4d24ffb6e3d"


def create_jasmin(url: str) -> Jasmin:
    """A user of Jasmin."""
    return Jasmin(base_url=url, username="foo", password=Secret("bar"), **SHORT_TIMEOUTS)


CONTRACTS = {
    "jasmin": ProviderContract(
        create_jasmin,
        accepted=GatewayReply(200, f'Success "{MESSAGE_ID}"'.encode()),
        message_id=MESSAGE_ID,
        account=GatewayReply(403, b'Error "Authentication failure for username:foo"'),
        account_code="authentication-failure",
        throttled=GatewayReply(403, b'Error "User throughput exceeded"'),
        throttled_code="throughput-exceeded",
        unknown=GatewayReply(400, b'Error "Argument [to] has an invalid value: [+447400123456]."'),
        unknown_code="http-400",
        taken_without_id=GatewayReply(200, b'Success ""'),
    )
}
