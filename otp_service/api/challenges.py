"""/v1/challenges and /v1/numbers: read the request, call the use case, show the challenge.

The body is read to its end before the id is looked at, which is the contract's order, and before
any limit is (R24): a body that comes in slowly holds nothing open.
"""

from collections.abc import Coroutine
from typing import Any, Final, TypeVar

from litestar import delete, get, post
from litestar.params import FromPath
from litestar.response.base import ASGIResponse

from otp_service.api.context import Call, context
from otp_service.api.request_body import idempotency_key, into, read, read_fields, read_nothing
from otp_service.api.responses import answer, challenge_view
from otp_service.core.challenge import partition_of
from otp_service.core.errors import ChallengeNotFound
from otp_service.core.ip_address import read_address
from otp_service.core.ports import Stored
from otp_service.core.tenant import Scope
from otp_service.schemas import ChallengeView, IssueRequest, Nothing, UnlockRequest, VerifyRequest


T = TypeVar("T")

SCOPES: Final = {Scope.CHALLENGES}
ONE: Final = "/v1/challenges/{challenge_id:str}"
OVER: Final = ("challenge-expired", "challenge-locked", "challenge-already-verified")
ENDED: Final = (*OVER, "challenge-canceled")
SENDING: Final = (
    *("number-locked", "number-not-allowed", "undeliverable", "rate-limited", "delivery-failed"),
    *("idempotency-key-in-use", "idempotency-key-reused"),
)


@post(
    "/v1/challenges",
    scopes=SCOPES,
    ask=IssueRequest,
    answer=ChallengeView,
    problems=(*SENDING, "invalid-phone-number"),
    takes_key=True,
)
async def issue(request: Call) -> ASGIResponse:
    """Send a code to a number."""
    ask = await read(request, IssueRequest)
    key = idempotency_key(request)
    stored = await _done(request, context(request).service.issue(request.auth, ask, key))
    view = challenge_view(stored)
    return answer(view, status=201, headers={"Location": f"/v1/challenges/{view.id}"})


@get(ONE, scopes=SCOPES, answer=ChallengeView)
async def view(request: Call, challenge_id: FromPath[str]) -> ASGIResponse:
    """Show a challenge, in whatever status."""
    await read_nothing(request)
    return await _shown(request, context(request).service.view(request.auth, _id(challenge_id)))


@delete(ONE, scopes=SCOPES, problems=OVER)
async def cancel(request: Call, challenge_id: FromPath[str]) -> None:
    """End a challenge."""
    await read_nothing(request)
    await _done(request, context(request).service.cancel(request.auth, _id(challenge_id)))


@post(
    f"{ONE}/verify",
    scopes=SCOPES,
    status_code=200,
    ask=VerifyRequest,
    answer=ChallengeView,
    problems=(*ENDED, "number-locked", "malformed-code", "incorrect-code", "rate-limited"),
    takes_key=True,
)
async def verify(request: Call, challenge_id: FromPath[str]) -> ASGIResponse:
    """Try a code: 200 for the one call that brings the right one."""
    fields = await read_fields(request)
    if not isinstance(fields.get("code", ""), str):
        # As malformed as any other code, and refused where those are: after 404 and 410 (R8).
        fields["code"] = ""
    ask, key = into(fields, VerifyRequest), idempotency_key(request)
    if ask.client_ip is not None:
        read_address(ask.client_ip)  # the service would, but only once it has found the challenge
    service = context(request).service
    return await _shown(request, service.verify(request.auth, _id(challenge_id), ask, key))


@post(
    f"{ONE}/resend",
    scopes=SCOPES,
    status_code=200,
    ask=Nothing,
    answer=ChallengeView,
    problems=(*ENDED, *SENDING, "sends-exhausted"),
    takes_key=True,
)
async def resend(request: Call, challenge_id: FromPath[str]) -> ASGIResponse:
    """Send another code; the earlier one stays valid beside it."""
    await read_nothing(request)
    key, service = idempotency_key(request), context(request).service
    return await _shown(request, service.resend(request.auth, _id(challenge_id), key))


@post(
    "/v1/numbers/unlock",
    scopes={Scope.OPERATOR},
    status_code=204,
    ask=UnlockRequest,
    problems=("invalid-phone-number", "number-not-allowed"),
)
async def unlock(request: Call) -> None:
    """End a number's rows of failures, at all tenants."""
    ask = await read(request, UnlockRequest)
    await _done(request, context(request).service.unlock(request.auth, ask))


async def _shown(request: Call, call: Coroutine[Any, Any, Stored]) -> ASGIResponse:
    return answer(challenge_view(await _done(request, call)))


async def _done(request: Call, call: Coroutine[Any, Any, T]) -> T:
    return await context(request).in_flight.run(call)


def _id(text: str) -> str:
    """Return the id if it is one; what is none does not even reach the store."""
    if partition_of(text) is None:
        raise ChallengeNotFound
    return text


HANDLERS = (issue, view, cancel, verify, resend, unlock)
