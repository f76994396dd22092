"""/v1/recovery-codes: create ten codes for an account, and verify one of them.

The caller keeps the codes as a sealed token, which is in bodies only: a URL would be in logs.
"""

from typing import Final

from litestar import post
from litestar.response.base import ASGIResponse

from otp_service.api.request_body import parse_body, parse_call
from otp_service.api.request_context import AuthenticatedRequest, get_context
from otp_service.api.responses import build_json_response
from otp_service.core.tenant import Scope
from otp_service.core.timestamps import format_rfc3339
from otp_service.schemas import (
    CreateRecoveryCodesRequest,
    NewRecoverySetView,
    VerifiedRecoverySetView,
    VerifyRecoveryCodeRequest,
)


@post(
    "/v1/recovery-codes",
    scopes={Scope.CHALLENGES},
    request_body=CreateRecoveryCodesRequest,
    response_body=NewRecoverySetView,
    problems=("rate-limited",),
)
async def create_recovery_codes(request: AuthenticatedRequest) -> ASGIResponse:
    """Create ten recovery codes for an account.

    Store the token in the row of the user, in place of an earlier one, and show the codes once: they
    are in this response only. Ask for a fresh second factor before.
    """
    body = await parse_body(request, CreateRecoveryCodesRequest)
    context = get_context(request)
    call = context.service.recovery_sets.create_set(request.auth, body)
    created = await context.background_calls.run_shielded(call)
    view = NewRecoverySetView(recovery_set=created.token, codes=list(created.codes))
    return build_json_response(view, status=201)


@post(
    "/v1/recovery-codes/verify",
    scopes={Scope.CHALLENGES},
    status_code=200,
    request_body=VerifyRecoveryCodeRequest,
    response_body=VerifiedRecoverySetView,
    problems=(
        *("invalid-recovery-set", "account-locked", "malformed-code", "idempotency-key-reused"),
        *("rate-limited", "incorrect-code", "code-already-used", "idempotency-key-in-use"),
    ),
    accepts_idempotency_key=True,
)
async def verify_recovery_code(request: AuthenticatedRequest) -> ASGIResponse:
    """Verify a recovery code: 200 means that it is correct and was not used before.

    Store the returned token in place of the one that you sent. `codes_left` counts the codes that
    still work. A wrong code and a used one cost an attempt; a malformed code costs none.
    """
    body, key = await parse_call(request, VerifyRecoveryCodeRequest)
    context = get_context(request)
    call = context.service.recovery_sets.verify_code(request.auth, body, key)
    answer = await context.background_calls.run_shielded(call)
    view = VerifiedRecoverySetView(
        verified_at=format_rfc3339(answer.at),
        recovery_set=answer.token,
        codes_left=answer.codes_left,
    )
    return build_json_response(view)


RECOVERY_CODE_HANDLERS: Final = (create_recovery_codes, verify_recovery_code)
