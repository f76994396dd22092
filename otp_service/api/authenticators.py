"""/v1/authenticators: create an authenticator app's secret, confirm it, and verify its codes.

Tokens, secrets and codes are in bodies only, because URLs are logged.
"""

import asyncio
from typing import Final

from litestar import post
from litestar.response.base import ASGIResponse

from otp_service.api.qr_code import render_qr_svg
from otp_service.api.request_body import parse_body, parse_call
from otp_service.api.request_context import AuthenticatedRequest, get_context
from otp_service.api.responses import build_json_response
from otp_service.core.tenant import Scope
from otp_service.core.timestamps import format_rfc3339
from otp_service.schemas import (
    ActiveAuthenticatorView,
    ConfirmAuthenticatorRequest,
    CreateAuthenticatorRequest,
    NewAuthenticatorView,
    VerifiedAuthenticatorView,
    VerifyAuthenticatorRequest,
)


AUTHENTICATOR_SCOPES: Final = {Scope.CHALLENGES}
CODE_PROBLEMS: Final = (
    *("invalid-authenticator", "account-locked", "malformed-code", "rate-limited"),
    *("incorrect-code", "code-already-used"),
    *("idempotency-key-in-use", "idempotency-key-reused"),
)


@post(
    "/v1/authenticators",
    scopes=AUTHENTICATOR_SCOPES,
    request_body=CreateAuthenticatorRequest,
    response_body=NewAuthenticatorView,
)
async def create_authenticator(request: AuthenticatedRequest) -> ASGIResponse:
    """Create an authenticator: a secret for the user's app, as text, link and QR code.

    The secret is in this response only. Show it once, then confirm the authenticator with a code of
    the app within 30 minutes. It verifies nothing before.
    """
    body = await parse_body(request, CreateAuthenticatorRequest)
    context = get_context(request)
    service = context.service.authenticators
    with service.take_slot(request.auth):
        created = await context.background_calls.run_shielded(service.create(request.auth, body))
        # 20 ms of CPU: in a thread, so that other requests do not wait for it.
        svg = await asyncio.to_thread(render_qr_svg, created.uri)
    view = NewAuthenticatorView(
        authenticator=created.token,
        secret=created.base32_secret,
        uri=created.uri,
        qr_svg=svg,
        expires_at=format_rfc3339(created.expires_at),
    )
    return build_json_response(view, status=201)


@post(
    "/v1/authenticators/confirm",
    scopes=AUTHENTICATOR_SCOPES,
    status_code=200,
    request_body=ConfirmAuthenticatorRequest,
    response_body=ActiveAuthenticatorView,
    problems=(*CODE_PROBLEMS, "authenticator-already-confirmed"),
    accepts_idempotency_key=True,
)
async def confirm_authenticator(request: AuthenticatedRequest) -> ASGIResponse:
    """Confirm an authenticator with a code of the app.

    Store the returned token in the row of the user. The code of this call verifies no login. A
    repeat with the same `Idempotency-Key` returns the same token for 24 hours.
    """
    body, key = await parse_call(request, ConfirmAuthenticatorRequest)
    context = get_context(request)
    call = context.service.authenticators.confirm(request.auth, body, key)
    answer = await context.background_calls.run_shielded(call)
    confirmed_at = format_rfc3339(answer.at)
    view = ActiveAuthenticatorView(authenticator=answer.token, confirmed_at=confirmed_at)
    return build_json_response(view)


@post(
    "/v1/authenticators/verify",
    scopes=AUTHENTICATOR_SCOPES,
    status_code=200,
    request_body=VerifyAuthenticatorRequest,
    response_body=VerifiedAuthenticatorView,
    problems=(*CODE_PROBLEMS, "authenticator-not-confirmed"),
    accepts_idempotency_key=True,
)
async def verify_authenticator(request: AuthenticatedRequest) -> ASGIResponse:
    """Verify a code of an authenticator: 200 means that it is right, for exactly one call.

    A code is accepted once, and never one that is older than an accepted one. A failure is counted
    for the account, over all of its authenticators. Store the returned token if it differs from the
    one that you sent: it is sealed under a newer key.
    """
    body, key = await parse_call(request, VerifyAuthenticatorRequest)
    context = get_context(request)
    call = context.service.authenticators.verify(request.auth, body, key)
    answer = await context.background_calls.run_shielded(call)
    verified_at = format_rfc3339(answer.at)
    view = VerifiedAuthenticatorView(verified_at=verified_at, authenticator=answer.token)
    return build_json_response(view)


AUTHENTICATOR_HANDLERS: Final = (
    create_authenticator,
    confirm_authenticator,
    verify_authenticator,
)
