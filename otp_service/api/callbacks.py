"""/v1/callbacks: receipts of providers, which have no API key of ours.

A receipt is trusted if it is signed, or came to the address with the token of its submission. One
that has neither is advisory: it is recorded, and has no effect.
"""

from typing import Final

from litestar import get, post
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.response.base import ASGIResponse
from msgspec.structs import replace

from otp_service.api.request_body import read_body
from otp_service.api.request_context import AnonymousRequest, ApiContext, get_context
from otp_service.core.delivery import Receipt
from otp_service.core.errors import InvalidRequest, Overloaded, Unauthenticated
from otp_service.service import Caller
from otp_service.sms.aws.certificates import CertificateUnavailable
from otp_service.sms.provider_callbacks import (
    Callback,
    CallbackDialect,
    CallbackSignatureError,
    SkippedEvent,
    UnreadableCallback,
)
from otp_service.sms.redaction import redact_receipt


CALLBACK_PATH: Final = "/v1/callbacks/{provider:str}"
CALLBACK_PROBLEMS: Final = (
    *("unauthenticated", "content-too-large", "invalid-request", "not-found", "method-not-allowed"),
    *("overloaded", "store-unavailable", "internal-error", "unsupported-media-type"),
)

MAX_CALLBACK_BYTES: Final = 256 * 1024
MAX_RECEIPTS: Final = 100
"""The most that a vendor sends in one call (Infobip). Each costs several round trips to Redis."""


@post(
    CALLBACK_PATH,
    status_code=200,
    documented_status=204,
    request_max_body_size=MAX_CALLBACK_BYTES,
    problems=CALLBACK_PROBLEMS,
)
async def receive_receipts(request: AnonymousRequest, provider: FromPath[str]) -> ASGIResponse:
    """Receive delivery receipts of a vendor that calls with POST.

    For SMS providers alone, with their signature or the token in the URL that we gave them. The response
    is 204, or what the vendor requires.
    """
    return await _handle_callback(request, provider)


@get(CALLBACK_PATH, documented_status=204, problems=CALLBACK_PROBLEMS)
async def receive_receipt_by_get(
    request: AnonymousRequest, provider: FromPath[str]
) -> ASGIResponse:
    """Receive a delivery receipt of a vendor that calls with GET.

    As with POST.
    """
    return await _handle_callback(request, provider)


async def _handle_callback(request: AnonymousRequest, provider: str) -> ASGIResponse:
    context = get_context(request)
    dialect = context.callback_dialects.get(provider)
    if dialect is None:
        raise NotFoundException
    callback = Callback(
        method=request.method,
        url=_build_public_url(request, context),
        headers={n.decode("latin-1"): v.decode("latin-1") for n, v in request.scope["headers"]},
        body=await read_body(request, MAX_CALLBACK_BYTES),
        received_at=context.now(),
    )
    state = request.scope["state"]
    caller = Caller.without_tenant(f"callback-{provider}", state["request"], state["trace"])
    for receipt, trusted in await _authenticate_receipts(context, provider, dialect, callback):
        await context.handle_receipt(caller, provider, receipt, trusted=trusted)
    status, answer = dialect.acknowledgement
    return ASGIResponse(status_code=status, body=answer, media_type="text/plain")


async def _authenticate_receipts(
    context: ApiContext, provider: str, dialect: CallbackDialect, callback: Callback
) -> list[tuple[Receipt, bool]]:
    """Return the receipts, each with whether it is trusted.

    Any other exception is a bug in the dialect: it is counted and raised again, so that it becomes
    a logged 500 and not the vendor's fault.
    """
    try:
        return await _parse_receipts(context, provider, dialect, callback)
    except CallbackSignatureError:
        context.count_rejected_callback(provider, "signature")
        raise Unauthenticated("The signature or the token of this callback is not right.") from None
    except CertificateUnavailable:
        raise Overloaded("The certificate cannot be fetched now. Call again later.") from None
    except UnreadableCallback:
        context.count_rejected_callback(provider, "unreadable")
        raise InvalidRequest(("", "is no receipt of this provider that can be read")) from None
    except Exception:
        context.count_rejected_callback(provider, "internal")
        raise


async def _parse_receipts(
    context: ApiContext, provider: str, dialect: CallbackDialect, callback: Callback
) -> list[tuple[Receipt, bool]]:
    urls = context.callback_urls
    urls.verify_reference(provider, callback)  # before anything is read or fetched
    completed = await context.certificates.attach_certificates(dialect, callback)
    parts = dialect.parse_callback(completed)
    if len(parts) > MAX_RECEIPTS:
        raise UnreadableCallback
    for skipped in (part for part in parts if isinstance(part, SkippedEvent)):
        context.count_rejected_callback(provider, skipped)
    receipts = [part for part in parts if isinstance(part, Receipt)]
    references = [urls.verify_reference(provider, callback, each.reference) for each in receipts]
    return [
        (
            replace(redact_receipt(receipt, dialect), reference=reference or receipt.reference),
            receipt.is_signed or reference is not None,
        )
        for receipt, reference in zip(receipts, references, strict=True)
    ]


def _build_public_url(request: AnonymousRequest, context: ApiContext) -> str:
    """Return the address as the provider knows it: a proxy may have changed its host."""
    query = request.scope["query_string"].decode("latin-1")
    path = request.scope["path"]
    return f"{context.callback_urls.public_url}{path}{'?' if query else ''}{query}"


CALLBACK_HANDLERS: Final = (receive_receipts, receive_receipt_by_get)
