"""/v1/callbacks: receipts of providers, who have no API key of ours.

What says that it is they is their signature, or the token in the address that we gave them for this
submission. A receipt that has neither is advisory: it is noted, and nothing follows from it.
"""

import time
from typing import Any, Final

from litestar import Request, get, post
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import FromPath
from litestar.response.base import ASGIResponse
from msgspec.structs import replace

from otp_service.api.context import ApiContext, context
from otp_service.api.request_body import body_of
from otp_service.core.delivery import Receipt
from otp_service.core.errors import InvalidRequest, Overloaded, Unauthenticated
from otp_service.core.tenant import Tenant
from otp_service.service import Caller
from otp_service.sms.aws.certificates import NotFetched
from otp_service.sms.callbacks import BadSignature, Callback, Receiver
from otp_service.sms.redaction import presentable_receipt


Visit = Request[Any, Any, State]

PATH: Final = "/v1/callbacks/{provider:str}"
PROBLEMS: Final = (
    *("unauthenticated", "content-too-large", "invalid-request", "not-found", "method-not-allowed"),
    *("overloaded", "store-unavailable", "internal-error"),
)

MOST_BYTES: Final = 256 * 1024
"""Some vendors bring a hundred receipts at once."""

NOBODY: Final = Tenant("", "", frozenset())


@post(PATH, status_code=200, told=204, request_max_body_size=MOST_BYTES, problems=PROBLEMS)
async def bring_receipts(request: Visit, provider: FromPath[str]) -> ASGIResponse:
    """Take receipts; the answer is 204, or what the vendor requires."""
    return await _take(request, provider)


@get(PATH, told=204, problems=PROBLEMS)
async def bring_receipt(request: Visit, provider: FromPath[str]) -> ASGIResponse:
    """Take a receipt of a vendor that has nothing but GET."""
    return await _take(request, provider)


async def _take(request: Visit, provider: str) -> ASGIResponse:
    parts = context(request)
    receiver = parts.receivers.get(provider)
    if receiver is None:
        raise NotFoundException
    body = await body_of(request, MOST_BYTES)
    called = Callback(
        method=request.method,
        url=_address(request, parts),
        headers={
            name.decode("latin-1"): text.decode("latin-1")
            for name, text in request.scope["headers"]
        },
        body=body,
        now=time.time_ns() // 1_000_000,
    )
    for news, trusted in await _news(parts, provider, receiver, called):
        state = request.scope["state"]
        caller = Caller(NOBODY, f"callback-{provider}", state["request"], state["trace"])
        receiving = parts.service.receive(caller, provider, news, trusted=trusted)
        received = await parts.in_flight.run(receiving)
        parts.count_receipt(provider, news.status if received.known else "unknown")
        if received.rescue:
            # The vendor wants its answer at once, and has nothing to do with what follows.
            parts.in_flight.start(parts.service.rescue(caller, provider, received.rescue))
    status, answer = receiver.acknowledgement
    return ASGIResponse(status_code=status, body=answer, media_type="text/plain")


async def _news(
    parts: ApiContext, provider: str, receiver: Receiver, called: Callback
) -> list[tuple[Receipt, bool]]:
    """Return what was brought, and whether nobody else can have said it."""
    try:
        parts.callbacks.reference(provider, called)  # a wrong one: nothing is read or fetched
        brought = receiver.receipts(await parts.certificates.complete(receiver, called))
        whose = [parts.callbacks.reference(provider, called, news.reference) for news in brought]
    except BadSignature:
        parts.count_rejected(provider, "signature")
        raise Unauthenticated("The signature or the token of this callback is not right.") from None
    except NotFetched:
        raise Overloaded("The certificate cannot be fetched now. Bring this again.") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        parts.count_rejected(provider, "unreadable")
        raise InvalidRequest(("", "is no receipt of this provider that can be read")) from None
    return [
        (
            replace(presentable_receipt(news, receiver), reference=reference or news.reference),
            news.is_signed or reference is not None,
        )
        for news, reference in zip(brought, whose, strict=True)
    ]


def _address(request: Visit, parts: ApiContext) -> str:
    """Return the address as the provider knows it, whatever proxies have made of it."""
    query = request.scope["query_string"].decode("latin-1")
    path = request.scope["path"]
    return f"{parts.callbacks.public_url}{path}{'?' if query else ''}{query}"


HANDLERS: Final = (bring_receipts, bring_receipt)
