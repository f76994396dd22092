"""What operators and auditors call: events, unlocking, and the health of the service."""

from datetime import datetime
from types import NoneType

from otp_service_client.calls.call import Call, omit_none
from otp_service_client.results import AuditPage, Health, Readiness


def list_events(
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    type: str | None = None,  # noqa: A002  # the name of the parameter in the API
    challenge: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
) -> Call[AuditPage]:
    """Return events, newest first. `cursor` is the `next` of the page before.

    `since` and `until` must have a time zone; `type` is one event type, or several with commas
    between them. The key needs the scope `audit` or `audit-all`.
    """
    return Call(
        operation="list_events",
        method="GET",
        path="/v1/audit/events",
        result_type=AuditPage,
        query=omit_none(
            since=since, until=until, type=type, challenge=challenge, limit=limit, cursor=cursor
        ),
        is_idempotent=True,
    )


def search_events(
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    type: str | None = None,  # noqa: A002  # the name of the member in the API
    challenge: str | None = None,
    limit: int | None = None,
    cursor: str | None = None,
    phone_number: str | None = None,
    account: str | None = None,
    pseudonym: str | None = None,
    client_ip: str | None = None,
    client_ip_changed: bool | None = None,
    event_reason: str | None = None,
    event_limit: str | None = None,
    country: str | None = None,
    provider: str | None = None,
) -> Call[AuditPage]:
    """Return events that match every filter, newest first.

    A search for a person is recorded as an event itself, so it is not repeated after a lost reply.
    """
    return Call(
        operation="search_events",
        method="POST",
        path="/v1/audit/search",
        result_type=AuditPage,
        body=omit_none(
            since=since,
            until=until,
            type=type,
            challenge=challenge,
            limit=limit,
            cursor=cursor,
            phone_number=phone_number,
            account=account,
            pseudonym=pseudonym,
            client_ip=client_ip,
            client_ip_changed=client_ip_changed,
            event_reason=event_reason,
            event_limit=event_limit,
            country=country,
            provider=provider,
        ),
    )


def unlock_number(phone_number: str) -> Call[None]:
    """Reset the failures of a number for all tenants. The key needs the scope `operator`."""
    return Call(
        operation="unlock_number",
        method="POST",
        path="/v1/numbers/unlock",
        success_status=204,
        result_type=NoneType,
        body=omit_none(phone_number=phone_number),
        is_idempotent=True,
    )


def unlock_account(account: str, *, tenant: str | None = None) -> Call[None]:
    """Reset the failures of an account at every factor. The key needs the scope `operator`.

    `tenant` is that of the key by default.
    """
    return Call(
        operation="unlock_account",
        method="POST",
        path="/v1/accounts/unlock",
        success_status=204,
        result_type=NoneType,
        body=omit_none(account=account, tenant=tenant),
        is_idempotent=True,
    )


def check_liveness() -> Call[Health]:
    """Return whether the service runs."""
    return Call(
        operation="check_liveness",
        method="GET",
        path="/health/live",
        result_type=Health,
        is_idempotent=True,
    )


def check_readiness() -> Call[Readiness]:
    """Return the mode of a service that can serve calls. Raises ServiceFailed if it cannot."""
    return Call(
        operation="check_readiness",
        method="GET",
        path="/health/ready",
        result_type=Readiness,
        is_idempotent=True,
    )
