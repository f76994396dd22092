"""/v1/hooks: identity products that have generated a code, and ask for a message with it.

A product proves itself by the signature of its hook, before its body is parsed. It gets its answers in its
own format (`otp_service.hooks`). The same request is sent once: a repeat gets the first one's result.
"""

import asyncio
import hashlib
import logging
from collections.abc import Iterable
from typing import Any, Final

from litestar import post
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.response.base import ASGIResponse

from otp_service.api.problems import PROBLEM_TYPES
from otp_service.api.request_body import convert_fields, read_body
from otp_service.api.request_context import AnonymousRequest, ApiContext, get_context
from otp_service.core.errors import (
    IdempotencyKeyInUse,
    InvalidRequest,
    OtpError,
    ResultNotStored,
    TemporarilyUnavailable,
    Unauthenticated,
)
from otp_service.core.keys import join_length_prefixed
from otp_service.hooks import (
    HookAnswer,
    HookDelivery,
    HookRequest,
    HookSettings,
    HookSignatureError,
)
from otp_service.schemas import DeliveryRequest
from otp_service.service import Caller


logger = logging.getLogger(__name__)

HOOK_PROBLEMS: Final = (
    *("unauthenticated", "content-too-large", "invalid-request", "not-found", "method-not-allowed"),
    *("invalid-phone-number", "number-not-allowed", "number-locked", "account-locked"),
    *("undeliverable", "rate-limited", "delivery-failed", "idempotency-key-reused"),
    *("challenge-expired", "forbidden", "unsupported-media-type"),
    *("overloaded", "store-unavailable", "internal-error"),
)

MAX_HOOK_BYTES: Final = 256 * 1024
"""A product sends everything that it knows of a user."""

REPEAT_INTERVAL_SECONDS: Final = 0.2
"""Between two tries of a repeat, while the first call has not sent its message."""

SIGNATURE_REMEDIES: Final = {
    "missing": "The request has no signature or key. Set up the secret of this hook in the product.",
    "signature": "The signature is not of a secret of this hook. Set up the same secret on both sides.",
    "unknown": "The key is not a secret of this hook. Set up the same secret on both sides.",
    "expired": "The signature is more than five minutes old or early. Check the clocks of both sides.",
}


@post(
    "/v1/hooks/{hook:str}",
    status_code=200,
    request_max_body_size=MAX_HOOK_BYTES,
    problems=HOOK_PROBLEMS,
)
async def receive_hook(request: AnonymousRequest, hook: FromPath[str]) -> ASGIResponse:
    """Send the code of an identity product, which calls this itself.

    For Supabase Auth, Zitadel, Authgear and others, with the signature or key that is set up for the hook.
    Status and body of the answer are what the product requires; some products get a refusal in their own
    format instead of a problem.
    """
    context = get_context(request)
    settings = context.hooks.get(hook)
    if settings is None:
        raise NotFoundException
    call = HookRequest(
        headers=_join_headers(request.scope["headers"]),
        body=await read_body(request, MAX_HOOK_BYTES),
        received_at=context.now(),
    )
    try:
        answer = await _answer_call(request, context, hook, settings, call)
    except OtpError as error:
        context.count_hook_request(hook, _name_result(error))
        answer = _build_refusal(request, settings, error)
    except Exception:
        context.count_hook_request(hook, "internal")
        raise
    return ASGIResponse(status_code=answer.status, body=answer.body, media_type="application/json")


async def _answer_call(
    request: AnonymousRequest,
    context: ApiContext,
    name: str,
    settings: HookSettings,
    call: HookRequest,
) -> HookAnswer:
    """Authenticate the call, and deliver its code. Raises OtpError for every refusal."""
    try:
        settings.verify_signature(call)
    except HookSignatureError as error:
        context.count_denied_access(error.reason)
        logger.warning("hook %s: a request was refused: %s", name, error.reason)
        raise Unauthenticated(SIGNATURE_REMEDIES[error.reason]) from None
    state = request.scope["state"]
    tenant = context.tenants[settings.tenant]
    request.scope["auth"] = caller = Caller(
        tenant, f"hook-{name}", state["request"], state["trace"]
    )
    delivery = settings.parse_delivery(call)
    body = _build_body(settings, delivery, caller)
    key = _derive_idempotency_key(name, delivery)
    result = await _deliver(context, caller, body, key, settings.answer_seconds)
    context.count_hook_request(name, result)
    return settings.build_success()


async def _deliver(
    context: ApiContext, caller: Caller, body: DeliveryRequest, key: str, seconds: float
) -> str:
    """Return whether the message was accepted, or is late: then it is still being sent.

    Raises the OtpError that refuses it.
    """
    try:
        async with asyncio.timeout(seconds):
            await _deliver_once(context, caller, body, key)
    except (TimeoutError, ResultNotStored):
        # The message may arrive. A product that took this for a failure would refuse its code.
        return "late"
    return "accepted"


async def _deliver_once(
    context: ApiContext, caller: Caller, body: DeliveryRequest, key: str
) -> None:
    """Deliver the code, or wait until a call with the same key has."""
    while True:
        try:
            await context.background_calls.run_shielded(context.service.deliver(caller, body, key))
        except IdempotencyKeyInUse:
            await asyncio.sleep(REPEAT_INTERVAL_SECONDS)
        else:
            return


def _build_body(settings: HookSettings, delivery: HookDelivery, caller: Caller) -> DeliveryRequest:
    """Return the delivery, checked as the body of POST /v1/deliveries. Raises InvalidRequest."""
    fields: dict[str, Any] = {
        "phone_number": delivery.phone_number,
        "code": delivery.code,
        "purpose": settings.purpose,
        "locale": delivery.locale,
        "client_ip": delivery.client_ip,
        "account": delivery.account,
        "valid_minutes": settings.valid_minutes,
    }
    return convert_fields(fields, DeliveryRequest, caller.tenant)


def _derive_idempotency_key(name: str, delivery: HookDelivery) -> str:
    """Return the same key for a repeated request. The store keeps only a keyed hash of it."""
    digest = hashlib.sha256(join_length_prefixed(*delivery.identity))
    return f"hook:{name}:{digest.hexdigest()}"


def _build_refusal(
    request: AnonymousRequest, settings: HookSettings, error: OtpError
) -> HookAnswer:
    """Return the refusal in the product's format. Raises the error if that is a problem document."""
    answer = settings.build_refusal(error, PROBLEM_TYPES[error.problem_type].status)
    if answer is None:
        raise error
    request.scope["state"]["problem"] = error.problem_type  # as the log of requests has it
    return answer


def _name_result(error: OtpError) -> str:
    """Return the result that the metric has for a refusal."""
    match error:
        case Unauthenticated():
            return "unauthenticated"
        case InvalidRequest():
            return "unreadable"
        case TemporarilyUnavailable():
            return "unavailable"
        case _:
            return "refused"


def _join_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers by name in lower case; the values of a repeated name are joined."""
    joined: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        joined[key] = f"{joined[key]}, {text}" if key in joined else text
    return joined


HOOK_HANDLERS: Final = (receive_hook,)
