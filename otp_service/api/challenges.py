"""/v1/challenges and /v1/numbers: parse the request, call the use case, return the challenge.

The body is read to its end before the id is checked, which is the order of the contract, and before
any limit is charged (R24): a slow body holds nothing open.
"""

from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from litestar import delete, get, post
from litestar.params import FromPath
from litestar.response.base import ASGIResponse

from otp_service.api.request_body import parse_body, parse_call
from otp_service.api.request_context import AuthenticatedRequest, get_context
from otp_service.api.responses import build_challenge_view, build_json_response
from otp_service.core.challenge import check_challenge_id
from otp_service.core.commit import ChallengeSnapshot
from otp_service.core.phone_number import classify_number
from otp_service.core.tenant import Scope
from otp_service.schemas import (
    ChallengeView,
    EmptyBody,
    IssueRequest,
    UnlockAccountRequest,
    UnlockRequest,
    VerifyRequest,
)
from otp_service.service import OtpService


T = TypeVar("T")

CHALLENGE_SCOPES: Final = {Scope.CHALLENGES}
CHALLENGE_PATH: Final = "/v1/challenges/{challenge_id:str}"
CANCEL_PROBLEMS: Final = ("challenge-expired", "challenge-locked", "challenge-already-verified")
ENDED_PROBLEMS: Final = (*CANCEL_PROBLEMS, "challenge-canceled")
SEND_PROBLEMS: Final = (
    *(
        "number-locked",
        "account-locked",
        "number-not-allowed",
        "undeliverable",
        "rate-limited",
        "delivery-failed",
    ),
    *("idempotency-key-in-use", "idempotency-key-reused"),
)


@post(
    "/v1/challenges",
    scopes=CHALLENGE_SCOPES,
    request_body=IssueRequest,
    response_body=ChallengeView,
    problems=(*SEND_PROBLEMS, "invalid-phone-number", "challenge-expired"),
    accepts_idempotency_key=True,
)
async def issue_challenge(request: AuthenticatedRequest) -> ASGIResponse:
    """Issue a challenge: generate a code and send it to a phone number.

    `Location` is the URL of the challenge. Keep its id in the server-side session of the user.
    """
    body, key = await parse_call(request, IssueRequest)
    call = _get_service(request).issue(request.auth, body, key)
    view = build_challenge_view(await _run_shielded(request, call))
    return build_json_response(view, status=201, headers={"Location": f"/v1/challenges/{view.id}"})


@get(CHALLENGE_PATH, scopes=CHALLENGE_SCOPES, response_body=ChallengeView)
async def get_challenge(request: AuthenticatedRequest, challenge_id: FromPath[str]) -> ASGIResponse:
    """Get a challenge, whatever its status.

    A challenge that has ended remains readable for one hour.
    """
    await parse_body(request, EmptyBody)
    check_challenge_id(challenge_id)
    call = _get_service(request).get_challenge(request.auth, challenge_id)
    return await _respond_with_challenge(request, call)


@delete(CHALLENGE_PATH, scopes=CHALLENGE_SCOPES, problems=CANCEL_PROBLEMS)
async def cancel_challenge(request: AuthenticatedRequest, challenge_id: FromPath[str]) -> None:
    """Cancel a challenge, so that none of its codes is accepted.

    The response is 204 again if it was already canceled.
    """
    await parse_body(request, EmptyBody)
    check_challenge_id(challenge_id)
    await _run_shielded(request, _get_service(request).cancel(request.auth, challenge_id))


@post(
    f"{CHALLENGE_PATH}/verify",
    scopes=CHALLENGE_SCOPES,
    status_code=200,
    request_body=VerifyRequest,
    response_body=ChallengeView,
    problems=(
        *ENDED_PROBLEMS,
        "number-locked",
        "account-locked",
        "malformed-code",
        "incorrect-code",
        "rate-limited",
    ),
    accepts_idempotency_key=True,
)
async def verify_challenge(
    request: AuthenticatedRequest, challenge_id: FromPath[str]
) -> ASGIResponse:
    """Verify a code: 200 means that it is correct, for exactly one call.

    A wrong code is 422 `incorrect-code` and costs one of five attempts. A malformed code costs none.
    """
    body, key = await parse_call(request, VerifyRequest)
    check_challenge_id(challenge_id)
    call = _get_service(request).verify(request.auth, challenge_id, body, key)
    return await _respond_with_challenge(request, call)


@post(
    f"{CHALLENGE_PATH}/resend",
    scopes=CHALLENGE_SCOPES,
    status_code=200,
    request_body=EmptyBody,
    response_body=ChallengeView,
    problems=(*ENDED_PROBLEMS, *SEND_PROBLEMS, "sends-exhausted"),
    accepts_idempotency_key=True,
)
async def resend_code(request: AuthenticatedRequest, challenge_id: FromPath[str]) -> ASGIResponse:
    """Send a new code for the same challenge.

    The previous code stays valid. The deadline and the attempts do not change.
    """
    _, key = await parse_call(request, EmptyBody)
    check_challenge_id(challenge_id)
    call = _get_service(request).resend(request.auth, challenge_id, key)
    return await _respond_with_challenge(request, call)


@post(
    "/v1/numbers/unlock",
    scopes={Scope.OPERATOR},
    status_code=204,
    request_body=UnlockRequest,
    problems=("invalid-phone-number", "number-not-allowed"),
)
async def unlock_number(request: AuthenticatedRequest) -> None:
    """Reset the failures of a phone number at every tenant.

    The consecutive failures and the failure limits start again. Limits of sends do not change.
    """
    body = await parse_body(request, UnlockRequest)
    # A number to which no code may be sent can be unlocked too.
    phone, _ = classify_number(body.phone_number)
    await _run_shielded(request, _get_service(request).numbers.unlock_number(request.auth, phone))


@post(
    "/v1/accounts/unlock",
    scopes={Scope.OPERATOR},
    status_code=204,
    request_body=UnlockAccountRequest,
)
async def unlock_account(request: AuthenticatedRequest) -> None:
    """Reset the failures of an account at one tenant, at every factor.

    The consecutive failures and the failure limits start again, for SMS, authenticators and recovery
    codes. Limits of sends and of new recovery sets do not change. The response is 204, whether or not
    the account or the tenant exists.
    """
    body = await parse_body(request, UnlockAccountRequest)
    tenant = body.tenant or request.auth.tenant.name
    unlocking = _get_service(request).accounts.unlock_account(request.auth, tenant, body.account)
    await _run_shielded(request, unlocking)


def _get_service(request: AuthenticatedRequest) -> OtpService:
    return get_context(request).service


async def _respond_with_challenge(
    request: AuthenticatedRequest, call: Coroutine[Any, Any, ChallengeSnapshot]
) -> ASGIResponse:
    return build_json_response(build_challenge_view(await _run_shielded(request, call)))


async def _run_shielded(request: AuthenticatedRequest, call: Coroutine[Any, Any, T]) -> T:
    return await get_context(request).background_calls.run_shielded(call)


CHALLENGE_HANDLERS: Final = (
    issue_challenge,
    get_challenge,
    cancel_challenge,
    verify_challenge,
    resend_code,
)
OPERATOR_HANDLERS: Final = (unlock_number, unlock_account)
