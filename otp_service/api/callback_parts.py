"""What a request of a provider has, and what of it counts.

| address | a receipt is trusted | a message from a phone counts |
|---|---|---|
| /v1/callbacks/NAME | if it is signed, or by the token of its submission | if it is signed |
| /v1/inbound/NAME | if it is signed, or by the `inbound_token` | the same; otherwise the request is 401 |

An unsigned message at the first address is dropped and not refused: vendors pause an address that
refuses them, and this one carries the receipts. The token of a submission proves no message, because
each provider has thousands of them.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from msgspec.structs import replace

from otp_service.api.request_context import ApiContext
from otp_service.core.delivery import Receipt
from otp_service.core.inbound import InboundMessage
from otp_service.sms.inbound_token import InboundTokenError, has_inbound_token
from otp_service.sms.provider_callbacks import (
    Callback,
    CallbackDialect,
    CallbackPart,
    SkippedEvent,
    UnreadableCallback,
)
from otp_service.sms.redaction import redact_receipt


MAX_RECEIPTS: Final = 100
"""The most that a vendor sends in one call (Infobip). Each costs several round trips to Redis."""
MAX_PARTS: Final = 1_000
"""Receipts, messages and other events of one call. Most messages have no keyword, and cost nothing."""

UNSIGNED_REASON: Final = "unsigned"


class AcceptedParts(NamedTuple):
    """The parts of a callback that count, and what decides the answer."""

    receipts: Sequence[tuple[Receipt, bool]]
    """Each with whether it is trusted."""
    messages: Sequence[InboundMessage]
    has_message: bool
    """Whether there was one, also if it does not count."""


async def read_receipt_callback(
    context: ApiContext, provider: str, dialect: CallbackDialect, callback: Callback
) -> AcceptedParts:
    """Return the parts of a request at /v1/callbacks, and count what is dropped.

    Raises as `parse_callback` of the dialect, and CallbackSignatureError for a wrong token.
    """
    urls = context.callback_urls
    urls.verify_reference(provider, callback)  # before anything is read or fetched
    parts = await _parse_parts(context, dialect, callback)
    receipts = [part for part in parts if isinstance(part, Receipt)]
    references = [urls.verify_reference(provider, callback, each.reference) for each in receipts]
    messages = [part for part in parts if isinstance(part, InboundMessage)]
    signed = [message for message in messages if message.is_signed]
    _count_skipped_events(context, provider, parts)
    for _ in range(len(messages) - len(signed)):
        context.count_rejected_callback(provider, UNSIGNED_REASON)
    trusted = [
        (
            replace(redact_receipt(receipt, dialect), reference=reference or receipt.reference),
            receipt.is_signed or reference is not None,
        )
        for receipt, reference in zip(receipts, references, strict=True)
    ]
    return AcceptedParts(trusted, signed, bool(messages))


async def read_inbound_callback(
    context: ApiContext, provider: str, dialect: CallbackDialect, callback: Callback
) -> AcceptedParts:
    """Return the parts of a request at /v1/inbound, all of which are signed or have the token.

    Raises as `parse_callback` of the dialect, and InboundTokenError. A wrong signature is refused
    although the token is right.
    """
    has_token = has_inbound_token(callback, dialect.inbound_tokens)
    if not (has_token or dialect.requires_signature(callback)):
        raise InboundTokenError  # before anything is read
    parts = await _parse_parts(context, dialect, callback)
    readable = [part for part in parts if not isinstance(part, SkippedEvent)]
    if not (has_token or all(part.is_signed for part in readable)):
        raise InboundTokenError
    _count_skipped_events(context, provider, parts)
    receipts = [
        (redact_receipt(part, dialect), True) for part in readable if isinstance(part, Receipt)
    ]
    messages = [part for part in readable if isinstance(part, InboundMessage)]
    return AcceptedParts(receipts, messages, bool(messages))


async def _parse_parts(
    context: ApiContext, dialect: CallbackDialect, callback: Callback
) -> Sequence[CallbackPart]:
    """Return every part. Raises UnreadableCallback if there are too many."""
    completed = await context.certificates.attach_certificates(dialect, callback)
    parts = dialect.parse_callback(completed)
    receipt_count = sum(isinstance(part, Receipt) for part in parts)
    if len(parts) > MAX_PARTS or receipt_count > MAX_RECEIPTS:
        raise UnreadableCallback
    return parts


def _count_skipped_events(
    context: ApiContext, provider: str, parts: Sequence[CallbackPart]
) -> None:
    for part in parts:
        if isinstance(part, SkippedEvent):
            context.count_rejected_callback(provider, part)
