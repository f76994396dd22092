"""Challenges: issue, get, cancel, verify and resend."""

from types import NoneType
from typing import Literal

from otp_service_client.calls.call import SEND_TIMEOUT_SECONDS, Call, omit_none, quote_id
from otp_service_client.results import Challenge, VerifiedChallenge


BotCheck = Literal["passed", "failed", "none"]


def issue_challenge(
    phone_number: str,
    *,
    purpose: str | None = None,
    account: str | None = None,
    client_ip: str | None = None,
    locale: str | None = None,
    known: bool | None = None,
    bot_check: BotCheck | None = None,
    idempotency_key: str | None = None,
) -> Call[Challenge]:
    """Generate a code and send it to a phone number in strict E.164 (`+447400123456`).

    `account` is your own opaque name for the user, `client_ip` the address of the user's device, and
    `locale` the language of the message. `known` says whether this user has verified the number with you
    before, for a tenant with `trust_known`, and `bot_check` what your own check for bots has found. Keep
    the `id` in the server-side session of the user.
    """
    return Call(
        operation="issue_challenge",
        method="POST",
        path="/v1/challenges",
        success_status=201,
        result_type=Challenge,
        body=omit_none(
            phone_number=phone_number,
            purpose=purpose,
            account=account,
            client_ip=client_ip,
            locale=locale,
            known=known,
            bot_check=bot_check,
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
        path=f"/v1/challenges/{quote_id(challenge_id)}",
        result_type=Challenge,
        is_idempotent=True,
    )


def cancel_challenge(challenge_id: str) -> Call[None]:
    """Cancel a challenge, so that none of its codes is accepted. It may be canceled before."""
    return Call(
        operation="cancel_challenge",
        method="DELETE",
        path=f"/v1/challenges/{quote_id(challenge_id)}",
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
        path=f"/v1/challenges/{quote_id(challenge_id)}/verify",
        result_type=VerifiedChallenge,
        body=omit_none(
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
        path=f"/v1/challenges/{quote_id(challenge_id)}/resend",
        result_type=Challenge,
        takes_key=True,
        idempotency_key=idempotency_key,
        timeout_seconds=SEND_TIMEOUT_SECONDS,
    )
