"""/v1/callbacks and /v1/inbound: requests of providers, which have no API key of ours.

The first is for receipts, and each submission has an address of its own. The second is for messages
from phones, and is set up once at the vendor. Vendors send both to either address, and other events
too: `callback_parts` decides what counts.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from litestar import get, post
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.response.base import ASGIResponse

from otp_service.api.callback_parts import (
    AcceptedParts,
    read_inbound_callback,
    read_receipt_callback,
)
from otp_service.api.request_body import read_body
from otp_service.api.request_context import (
    AnonymousRequest,
    ApiContext,
    get_context,
    get_header_values,
)
from otp_service.core.errors import (
    InboundUnauthenticated,
    InvalidRequest,
    Overloaded,
    Unauthenticated,
)
from otp_service.service import Caller
from otp_service.sms.aws.certificates import CertificateUnavailable
from otp_service.sms.inbound_token import InboundTokenError
from otp_service.sms.provider_callbacks import (
    Callback,
    CallbackDialect,
    CallbackSignatureError,
    UnreadableCallback,
)


CALLBACK_PATH: Final = "/v1/callbacks/{provider:str}"
INBOUND_PATH: Final = "/v1/inbound/{provider:str}"
CALLBACK_PROBLEMS: Final = (
    *("unauthenticated", "content-too-large", "invalid-request", "not-found", "method-not-allowed"),
    *("overloaded", "store-unavailable", "internal-error", "unsupported-media-type"),
)

MAX_CALLBACK_BYTES: Final = 256 * 1024

ReadParts = Callable[
    [ApiContext, str, CallbackDialect, Callback],
    Awaitable[AcceptedParts],
]


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
    is 204, or what the vendor requires. A signed message from a phone counts as at `/v1/inbound`.
    """
    return await _handle_callback(request, provider, read_receipt_callback)


@get(CALLBACK_PATH, documented_status=204, problems=CALLBACK_PROBLEMS)
async def receive_receipt_by_get(
    request: AnonymousRequest, provider: FromPath[str]
) -> ASGIResponse:
    """Receive a delivery receipt of a vendor that calls with GET.

    As with POST.
    """
    return await _handle_callback(request, provider, read_receipt_callback)


@post(
    INBOUND_PATH,
    status_code=200,
    documented_status=204,
    request_max_body_size=MAX_CALLBACK_BYTES,
    problems=CALLBACK_PROBLEMS,
)
async def receive_inbound_messages(
    request: AnonymousRequest, provider: FromPath[str]
) -> ASGIResponse:
    """Receive messages from phones of a vendor that calls with POST.

    For SMS providers alone, with their signature, or with the provider's `inbound_token` as the parameter
    `token` or as the password of Basic authentication. STOP, START and HELP have an effect. The response is
    204, or what the vendor requires; none of it is sent to the phone. Receipts count here too.
    """
    return await _handle_callback(request, provider, read_inbound_callback)


@get(INBOUND_PATH, documented_status=204, problems=CALLBACK_PROBLEMS)
async def receive_inbound_message_by_get(
    request: AnonymousRequest, provider: FromPath[str]
) -> ASGIResponse:
    """Receive a message from a phone of a vendor that calls with GET.

    As with POST.
    """
    return await _handle_callback(request, provider, read_inbound_callback)


async def _handle_callback(
    request: AnonymousRequest, provider: str, read_parts: ReadParts
) -> ASGIResponse:
    context = get_context(request)
    dialect = context.callback_dialects.get(provider)
    if dialect is None:
        raise NotFoundException
    callback = await _build_callback(request, context)
    parts = await _read_and_count(context, provider, dialect, callback, read_parts)
    state = request.scope["state"]
    caller = Caller.without_tenant(f"callback-{provider}", state["request"], state["trace"])
    for receipt, trusted in parts.receipts:
        await context.handle_receipt(caller, provider, receipt, trusted=trusted)
    if parts.messages:
        async with context.inbound_admission.admit(provider):
            for message in parts.messages:
                await context.handle_inbound(caller, provider, message)
    is_inbound = parts.has_message or read_parts is read_inbound_callback
    status, answer = dialect.inbound_acknowledgement if is_inbound else dialect.acknowledgement
    return ASGIResponse(status_code=status, body=answer, media_type="text/plain")


async def _read_and_count(
    context: ApiContext,
    provider: str,
    dialect: CallbackDialect,
    callback: Callback,
    read_parts: ReadParts,
) -> AcceptedParts:
    """Return the parts that count. Raises the problem of a callback that is refused, and counts it.

    Any other exception is a bug in the dialect: it is counted and raised again, so that it becomes
    a logged 500 and not the vendor's fault.
    """
    try:
        return await read_parts(context, provider, dialect, callback)
    except CallbackSignatureError:
        context.count_rejected_callback(provider, "signature")
        raise Unauthenticated("The signature or the token of this callback is not right.") from None
    except InboundTokenError:
        context.count_rejected_callback(provider, "token")
        raise InboundUnauthenticated from None
    except CertificateUnavailable:
        raise Overloaded("The certificate cannot be fetched now. Call again later.") from None
    except UnreadableCallback:
        context.count_rejected_callback(provider, "unreadable")
        raise InvalidRequest(("", "is nothing of this provider that can be read")) from None
    except Exception:
        context.count_rejected_callback(provider, "internal")
        raise


async def _build_callback(request: AnonymousRequest, context: ApiContext) -> Callback:
    headers = {n.decode("latin-1"): v.decode("latin-1") for n, v in request.scope["headers"]}
    if len(get_header_values(request, b"authorization")) > 1:
        del headers["authorization"]  # a proxy may have compared the other one
    return Callback(
        method=request.method,
        url=_build_public_url(request, context),
        headers=headers,
        body=await read_body(request, MAX_CALLBACK_BYTES),
        received_at=context.now(),
    )


def _build_public_url(request: AnonymousRequest, context: ApiContext) -> str:
    """Return the address as the provider knows it: a proxy may have changed its host."""
    query = request.scope["query_string"].decode("latin-1")
    path = request.scope["path"]
    return f"{context.callback_urls.public_url}{path}{'?' if query else ''}{query}"


CALLBACK_HANDLERS: Final = (receive_receipts, receive_receipt_by_get)
INBOUND_HANDLERS: Final = (receive_inbound_messages, receive_inbound_message_by_get)
