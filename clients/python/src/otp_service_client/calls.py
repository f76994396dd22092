"""Each operation of openapi.yaml as a pure function that returns the call to send.

The clients make a method of each of these functions: its parameters, its type and its documentation are
those of the method. None means that a member is not sent. No function refuses a value: only the service
decides what is valid, and a value that is refused here would be in the locals of a traceback.
"""

from datetime import datetime
from types import NoneType
from typing import Any, ClassVar, Final, Generic, TypeVar
from urllib.parse import quote

from otp_service_client.redaction import RedactedStruct
from otp_service_client.results import (
    ActiveAuthenticator,
    AuditPage,
    Challenge,
    CodeDelivery,
    Health,
    NewAuthenticator,
    NewRecoverySet,
    Readiness,
    VerifiedAuthenticator,
    VerifiedChallenge,
    VerifiedRecoverySet,
)


T = TypeVar("T")

REPLY_TIMEOUT_SECONDS: Final = 5.0
SEND_TIMEOUT_SECONDS: Final = 15.0
"""Of calls that send a message: providers have 8 s, and the service answers within 7 s more."""


class Call(RedactedStruct, Generic[T], frozen=True):
    """A call of one operation, and how its reply is read."""

    shown: ClassVar = ("operation",)

    operation: str
    method: str
    path: str
    result_type: type[T]
    """NoneType for a reply without a body."""
    success_status: int = 200
    body: dict[str, Any] | None = None
    query: dict[str, Any] | None = None
    takes_key: bool = False
    """Whether the service takes an Idempotency-Key: a repetition runs once."""
    idempotency_key: str | None = None
    """The caller's; a fresh one by default."""
    is_idempotent: bool = False
    """Whether it may be repeated without a key."""
    timeout_seconds: float = REPLY_TIMEOUT_SECONDS


# ----------------------------------------------------------------------------------- challenges


def issue_challenge(
    phone_number: str,
    *,
    purpose: str | None = None,
    account: str | None = None,
    client_ip: str | None = None,
    locale: str | None = None,
    idempotency_key: str | None = None,
) -> Call[Challenge]:
    """Generate a code and send it to a phone number in strict E.164 (`+447400123456`).

    `account` is your own opaque name for the user, `client_ip` the address of the user's device, and
    `locale` the language of the message. Keep the `id` in the server-side session of the user.
    """
    return Call(
        operation="issue_challenge",
        method="POST",
        path="/v1/challenges",
        success_status=201,
        result_type=Challenge,
        body=_omit_none(
            phone_number=phone_number,
            purpose=purpose,
            account=account,
            client_ip=client_ip,
            locale=locale,
        ),
        takes_key=True,
        idempotency_key=idempotency_key,
        timeout_seconds=SEND_TIMEOUT_SECONDS,
    )


def get_challenge(challenge_id: str) -> Call[Challenge]:
    """Return a challenge, whatever its status. One that has ended remains for an hour."""
    return Call(
        operation="get_challenge",
        method="GET",
        path=f"/v1/challenges/{_quote_id(challenge_id)}",
        result_type=Challenge,
        is_idempotent=True,
    )


def cancel_challenge(challenge_id: str) -> Call[None]:
    """Cancel a challenge, so that none of its codes is accepted. It may be canceled before."""
    return Call(
        operation="cancel_challenge",
        method="DELETE",
        path=f"/v1/challenges/{_quote_id(challenge_id)}",
        success_status=204,
        result_type=NoneType,
        is_idempotent=True,
    )


def verify_challenge(
    challenge_id: str,
    code: str,
    *,
    account: str | None = None,
    client_ip: str | None = None,
    purpose: str | None = None,
    phone_number: str | None = None,
    idempotency_key: str | None = None,
) -> Call[VerifiedChallenge]:
    """Verify a code. It is right if, and only if, the call returns, and for one call alone.

    `account`, `purpose` and `phone_number` must equal those of the challenge, if they are given.
    Raises CodeRefused where the code does not work: IncorrectCode, ChallengeExpired and others.
    """
    return Call(
        operation="verify_challenge",
        method="POST",
        path=f"/v1/challenges/{_quote_id(challenge_id)}/verify",
        result_type=VerifiedChallenge,
        body=_omit_none(
            code=code,
            account=account,
            client_ip=client_ip,
            purpose=purpose,
            phone_number=phone_number,
        ),
        takes_key=True,
        idempotency_key=idempotency_key,
    )


def resend_code(challenge_id: str, *, idempotency_key: str | None = None) -> Call[Challenge]:
    """Send a new code for the same challenge. The previous code, and the deadline, stay."""
    return Call(
        operation="resend_code",
        method="POST",
        path=f"/v1/challenges/{_quote_id(challenge_id)}/resend",
        result_type=Challenge,
        takes_key=True,
        idempotency_key=idempotency_key,
        timeout_seconds=SEND_TIMEOUT_SECONDS,
    )


# ----------------------------------------------------------------------------------- deliveries


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
        body=_omit_none(
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
        path=f"/v1/deliveries/{_quote_id(delivery_id)}",
        result_type=CodeDelivery,
        is_idempotent=True,
    )


# ----------------------------------------------------------------------------------- authenticators


def create_authenticator(
    account: str, *, name: str | None = None, secret: str | None = None
) -> Call[NewAuthenticator]:
    """Create the secret of a user's authenticator app, as text, link and QR code.

    `name` is shown in the app, and is the account by default. `secret` imports one (base32).
    """
    return Call(
        operation="create_authenticator",
        method="POST",
        path="/v1/authenticators",
        success_status=201,
        result_type=NewAuthenticator,
        body=_omit_none(account=account, name=name, secret=secret),
    )


def confirm_authenticator(
    authenticator: str, account: str, code: str, *, idempotency_key: str | None = None
) -> Call[ActiveAuthenticator]:
    """Confirm an authenticator with a code of the app. Store the token that it returns."""
    return Call(
        operation="confirm_authenticator",
        method="POST",
        path="/v1/authenticators/confirm",
        result_type=ActiveAuthenticator,
        body=_omit_none(authenticator=authenticator, account=account, code=code),
        takes_key=True,
        idempotency_key=idempotency_key,
    )


def verify_authenticator(
    authenticator: str,
    account: str,
    code: str,
    *,
    purpose: str | None = None,
    client_ip: str | None = None,
    idempotency_key: str | None = None,
) -> Call[VerifiedAuthenticator]:
    """Verify a code of the app. It is right if, and only if, the call returns, and once.

    Store the token that it returns. Raises CodeRefused where the code does not work.
    """
    return Call(
        operation="verify_authenticator",
        method="POST",
        path="/v1/authenticators/verify",
        result_type=VerifiedAuthenticator,
        body=_omit_none(
            authenticator=authenticator,
            account=account,
            code=code,
            purpose=purpose,
            client_ip=client_ip,
        ),
        takes_key=True,
        idempotency_key=idempotency_key,
    )


# ----------------------------------------------------------------------------------- recovery codes


def create_recovery_codes(account: str) -> Call[NewRecoverySet]:
    """Create ten recovery codes. Ask for a fresh second factor before."""
    return Call(
        operation="create_recovery_codes",
        method="POST",
        path="/v1/recovery-codes",
        success_status=201,
        result_type=NewRecoverySet,
        body=_omit_none(account=account),
    )


def verify_recovery_code(
    recovery_set: str,
    account: str,
    code: str,
    *,
    client_ip: str | None = None,
    idempotency_key: str | None = None,
) -> Call[VerifiedRecoverySet]:
    """Verify a recovery code. It is right if, and only if, the call returns, and once.

    Store the token that it returns. Raises CodeRefused where the code does not work.
    """
    return Call(
        operation="verify_recovery_code",
        method="POST",
        path="/v1/recovery-codes/verify",
        result_type=VerifiedRecoverySet,
        body=_omit_none(recovery_set=recovery_set, account=account, code=code, client_ip=client_ip),
        takes_key=True,
        idempotency_key=idempotency_key,
    )


# ----------------------------------------------------------------------------------- events


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
        query=_omit_none(
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
        body=_omit_none(
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
            country=country,
            provider=provider,
        ),
    )


# ----------------------------------------------------------------------------------- operators


def unlock_number(phone_number: str) -> Call[None]:
    """Reset the failures of a number for all tenants. The key needs the scope `operator`."""
    return Call(
        operation="unlock_number",
        method="POST",
        path="/v1/numbers/unlock",
        success_status=204,
        result_type=NoneType,
        body=_omit_none(phone_number=phone_number),
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
        body=_omit_none(account=account, tenant=tenant),
        is_idempotent=True,
    )


# ----------------------------------------------------------------------------------- health


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


def _quote_id(text: str) -> str:
    """Return an id for a path. A slash in it becomes `%2F`, which no path of a call may have."""
    return quote(text, safe="", errors="replace")


def _omit_none(**members: Any) -> dict[str, Any]:
    """Return the members that have a value. Instants become text (RFC 3339)."""
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in members.items()
        if value is not None
    }
