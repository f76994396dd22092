"""Deliveries: codes that another product generated."""

from otp_service_client.calls.call import SEND_TIMEOUT_SECONDS, Call, omit_none, quote_id
from otp_service_client.results import CodeDelivery


def create_delivery(
    phone_number: str,
    code: str,
    *,
    purpose: str | None = None,
    account: str | None = None,
    client_ip: str | None = None,
    locale: str | None = None,
    valid_minutes: int | None = None,
    idempotency_key: str | None = None,
) -> Call[CodeDelivery]:
    """Send a code that another product generated and will check, in the text of the service.

    `valid_minutes` is how long that product accepts it, from 1 to 60: the message states it. The other
    members are those of `issue_challenge`. Raises InvalidRequest for a code that is not allowed.
    """
    return Call(
        operation="create_delivery",
        method="POST",
        path="/v1/deliveries",
        success_status=201,
        result_type=CodeDelivery,
        body=omit_none(
            phone_number=phone_number,
            code=code,
            purpose=purpose,
            account=account,
            client_ip=client_ip,
            locale=locale,
            valid_minutes=valid_minutes,
        ),
        takes_key=True,
        idempotency_key=idempotency_key,
        timeout_seconds=SEND_TIMEOUT_SECONDS,
    )


def get_delivery(delivery_id: str) -> Call[CodeDelivery]:
    """Return a delivery. It remains for an hour after its `valid_minutes`."""
    return Call(
        operation="get_delivery",
        method="GET",
        path=f"/v1/deliveries/{quote_id(delivery_id)}",
        result_type=CodeDelivery,
        is_idempotent=True,
    )
