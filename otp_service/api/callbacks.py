"""/v1/callbacks: receipts of providers, who have no API key of ours.

What says that it is they is their signature, or the token in the address that we gave them for this
submission. A receipt that has neither is advisory: it is noted, and nothing follows from it.
"""

from typing import Any, Final

from litestar import Request, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.response.base import ASGIResponse
from msgspec.structs import replace

from otp_service.api.request_body import read_body
from otp_service.api.request_context import ApiContext, get_context
from otp_service.core.delivery import Receipt
from otp_service.core.errors import InvalidRequest, Overloaded, Unauthenticated
from otp_service.service import Caller
from otp_service.sms.aws.certificates import CertificateUnavailable
from otp_service.sms.receipt_callbacks import Callback, CallbackSignatureError, ReceiptDialect
from otp_service.sms.redaction import redact_receipt


AnonymousRequest = Request[Any, Any, State]

CALLBACK_PATH: Final = "/v1/callbacks/{provider:str}"
CALLBACK_PROBLEMS: Final = (
    *("unauthenticated", "content-too-large", "invalid-request", "not-found", "method-not-allowed"),
    *("overloaded", "store-unavailable", "internal-error"),
)

MAX_CALLBACK_BYTES: Final = 256 * 1024
"""Some vendors bring a hundred receipts at once."""


@post(
    CALLBACK_PATH,
    status_code=200,
    documented_status=204,
    request_max_body_size=MAX_CALLBACK_BYTES,
    problems=CALLBACK_PROBLEMS,
)
async def receive_receipts(request: AnonymousRequest, provider: FromPath[str]) -> ASGIResponse:
    """Take receipts; the answer is 204, or what the vendor requires."""
    return await _handle_callback(request, provider)


@get(CALLBACK_PATH, documented_status=204, problems=CALLBACK_PROBLEMS)
async def receive_receipt_by_get(
    request: AnonymousRequest, provider: FromPath[str]
) -> ASGIResponse:
    """Take a receipt of a vendor that has nothing but GET."""
    return await _handle_callback(request, provider)


async def _handle_callback(request: AnonymousRequest, provider: str) -> ASGIResponse:
    parts = get_context(request)
    receiver = parts.receipt_dialects.get(provider)
    if receiver is None:
        raise NotFoundException
    body = await read_body(request, MAX_CALLBACK_BYTES)
    called = Callback(
        method=request.method,
        url=_build_public_url(request, parts),
        headers={
            name.decode("latin-1"): text.decode("latin-1")
            for name, text in request.scope["headers"]
        },
        body=body,
        received_at=parts.now(),
    )
    for news, trusted in await _authenticate_receipts(parts, provider, receiver, called):
        state = request.scope["state"]
        caller = Caller.without_tenant(f"callback-{provider}", state["request"], state["trace"])
        receiving = parts.service.handle_receipt(caller, provider, news, trusted=trusted)
        received = await parts.background_calls.run_shielded(receiving)
        parts.count_receipt(provider, news.status if received.is_known else "unknown")
        if received.auto_resend_reference:
            # The vendor wants its answer at once, and has nothing to do with what follows.
            parts.background_calls.start_detached(
                parts.service.auto_resend(caller, provider, received.auto_resend_reference)
            )
    status, answer = receiver.acknowledgement
    return ASGIResponse(status_code=status, body=answer, media_type="text/plain")


async def _authenticate_receipts(
    context: ApiContext, provider: str, dialect: ReceiptDialect, callback: Callback
) -> list[tuple[Receipt, bool]]:
    """Return what was brought, and whether nobody else can have said it."""
    try:
        context.callback_urls.verify_reference(
            provider, callback
        )  # a wrong one: nothing is read or fetched
        brought = dialect.parse_receipts(
            await context.certificates.attach_certificates(dialect, callback)
        )
        whose = [
            context.callback_urls.verify_reference(provider, callback, news.reference)
            for news in brought
        ]
    except CallbackSignatureError:
        context.count_rejected_callback(provider, "signature")
        raise Unauthenticated("The signature or the token of this callback is not right.") from None
    except CertificateUnavailable:
        raise Overloaded("The certificate cannot be fetched now. Bring this again.") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        context.count_rejected_callback(provider, "unreadable")
        raise InvalidRequest(("", "is no receipt of this provider that can be read")) from None
    return [
        (
            replace(redact_receipt(news, dialect), reference=reference or news.reference),
            news.is_signed or reference is not None,
        )
        for news, reference in zip(brought, whose, strict=True)
    ]


def _build_public_url(request: AnonymousRequest, context: ApiContext) -> str:
    """Return the address as the provider knows it, whatever proxies have made of it."""
    query = request.scope["query_string"].decode("latin-1")
    path = request.scope["path"]
    return f"{context.callback_urls.public_url}{path}{'?' if query else ''}{query}"


HANDLERS: Final = (receive_receipts, receive_receipt_by_get)
