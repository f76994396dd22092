"""/v1/challenges and /v1/numbers: read the request, call the use case, show the challenge.

The body is read to its end before the id is looked at, which is the contract's order, and before
any limit is (R24): a body that comes in slowly holds nothing open.
"""

from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from litestar import delete, get, post
from litestar.params import FromPath
from litestar.response.base import ASGIResponse

from otp_service.api.request_body import (
    convert_fields,
    parse_body,
    parse_body_fields,
    parse_idempotency_key,
    require_empty_body,
)
from otp_service.api.request_context import AuthenticatedRequest, get_context
from otp_service.api.responses import build_challenge_view, build_json_response
from otp_service.core.challenge import parse_partition
from otp_service.core.errors import ChallengeNotFound
from otp_service.core.ip_address import parse_client_ip
from otp_service.core.phone_number import classify_number
from otp_service.core.ports import ChallengeSnapshot
from otp_service.core.tenant import Scope
from otp_service.schemas import ChallengeView, EmptyBody, IssueRequest, UnlockRequest, VerifyRequest


T = TypeVar("T")

CHALLENGE_SCOPES: Final = {Scope.CHALLENGES}
CHALLENGE_PATH: Final = "/v1/challenges/{challenge_id:str}"
CANCEL_PROBLEMS: Final = ("challenge-expired", "challenge-locked", "challenge-already-verified")
ENDED_PROBLEMS: Final = (*CANCEL_PROBLEMS, "challenge-canceled")
SEND_PROBLEMS: Final = (
    *("number-locked", "number-not-allowed", "undeliverable", "rate-limited", "delivery-failed"),
    *("idempotency-key-in-use", "idempotency-key-reused"),
)


@post(
    "/v1/challenges",
    scopes=CHALLENGE_SCOPES,
    request_body=IssueRequest,
    response_body=ChallengeView,
    problems=(*SEND_PROBLEMS, "invalid-phone-number"),
    accepts_idempotency_key=True,
)
async def issue_challenge(request: AuthenticatedRequest) -> ASGIResponse:
    """Send a code to a number."""
    ask = await parse_body(request, IssueRequest)
    key = parse_idempotency_key(request)
    stored = await _run_shielded(
        request, get_context(request).service.issue(request.auth, ask, key)
    )
    view = build_challenge_view(stored)
    return build_json_response(view, status=201, headers={"Location": f"/v1/challenges/{view.id}"})


@get(CHALLENGE_PATH, scopes=CHALLENGE_SCOPES, response_body=ChallengeView)
async def get_challenge(request: AuthenticatedRequest, challenge_id: FromPath[str]) -> ASGIResponse:
    """Show a challenge, in whatever status."""
    await require_empty_body(request)
    return await _respond_with_challenge(
        request,
        get_context(request).service.get_challenge(
            request.auth, _require_challenge_id(challenge_id)
        ),
    )


@delete(CHALLENGE_PATH, scopes=CHALLENGE_SCOPES, problems=CANCEL_PROBLEMS)
async def cancel_challenge(request: AuthenticatedRequest, challenge_id: FromPath[str]) -> None:
    """End a challenge."""
    await require_empty_body(request)
    await _run_shielded(
        request,
        get_context(request).service.cancel(request.auth, _require_challenge_id(challenge_id)),
    )


@post(
    f"{CHALLENGE_PATH}/verify",
    scopes=CHALLENGE_SCOPES,
    status_code=200,
    request_body=VerifyRequest,
    response_body=ChallengeView,
    problems=(*ENDED_PROBLEMS, "number-locked", "malformed-code", "incorrect-code", "rate-limited"),
    accepts_idempotency_key=True,
)
async def verify_challenge(
    request: AuthenticatedRequest, challenge_id: FromPath[str]
) -> ASGIResponse:
    """Try a code: 200 for the one call that brings the right one."""
    fields = await parse_body_fields(request)
    if not isinstance(fields.get("code", ""), str):
        # As malformed as any other code, and refused where those are: after 404 and 410 (R8).
        fields["code"] = ""
    ask, key = convert_fields(fields, VerifyRequest), parse_idempotency_key(request)
    if ask.client_ip is not None:
        parse_client_ip(
            ask.client_ip
        )  # the service would, but only once it has found the challenge
    service = get_context(request).service
    return await _respond_with_challenge(
        request, service.verify(request.auth, _require_challenge_id(challenge_id), ask, key)
    )


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
    """Send another code; the earlier one stays valid beside it."""
    await require_empty_body(request)
    key, service = parse_idempotency_key(request), get_context(request).service
    return await _respond_with_challenge(
        request, service.resend(request.auth, _require_challenge_id(challenge_id), key)
    )


@post(
    "/v1/numbers/unlock",
    scopes={Scope.OPERATOR},
    status_code=204,
    request_body=UnlockRequest,
    problems=("invalid-phone-number", "number-not-allowed"),
)
async def unlock_number(request: AuthenticatedRequest) -> None:
    """End a number's rows of failures, at all tenants."""
    body = await parse_body(request, UnlockRequest)
    # A number that codes are not sent to (any more) can be unlocked as well.
    phone, _ = classify_number(body.phone_number)
    numbers = get_context(request).service.numbers
    await _run_shielded(request, numbers.unlock_number(request.auth, phone))


async def _respond_with_challenge(
    request: AuthenticatedRequest, call: Coroutine[Any, Any, ChallengeSnapshot]
) -> ASGIResponse:
    return build_json_response(build_challenge_view(await _run_shielded(request, call)))


async def _run_shielded(request: AuthenticatedRequest, call: Coroutine[Any, Any, T]) -> T:
    return await get_context(request).background_calls.run_shielded(call)


def _require_challenge_id(text: str) -> str:
    """Return the id if it is one; what is none does not even reach the store."""
    if parse_partition(text) is None:
        raise ChallengeNotFound
    return text


HANDLERS = (
    issue_challenge,
    get_challenge,
    cancel_challenge,
    verify_challenge,
    resend_code,
    unlock_number,
)
