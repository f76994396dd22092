"""Build responses: JSON, HTML pages, and the views of challenges and deliveries."""

import base64
import hashlib
import re
from collections.abc import Mapping
from typing import Final

import msgspec
from litestar.response.base import ASGIResponse

from otp_service.core.challenge import Challenge
from otp_service.core.commit import ChallengeSnapshot
from otp_service.core.delivery import compute_delivery_status
from otp_service.core.errors import ChallengeNotFound
from otp_service.core.timestamps import format_rfc3339
from otp_service.schemas import ChallengeView, CodeDeliveryView, DeliveryView, SubmissionView


ISOLATION_HEADERS: Final = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""Isolate a response from other windows and origins of the browser."""

_CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_INLINE_ELEMENT: Final = re.compile(r"<(script|style)>(.*?)</\1>", re.DOTALL)


def build_json_response(
    body: msgspec.Struct, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> ASGIResponse:
    """Return a JSON response. (A Litestar `Response` takes 20 us more.)"""
    return ASGIResponse(
        body=msgspec.json.encode(body),
        status_code=status,
        headers=dict(headers or {}),
        media_type="application/json",
    )


def build_html_response(text: str) -> ASGIResponse:
    """Return a page whose policy admits only its own inline scripts and styles, by hash."""
    policy = _CONTENT_SECURITY_POLICY
    for element, content in _INLINE_ELEMENT.findall(text):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        policy += f"; {element}-src 'sha256-{digest}'"
    headers = ISOLATION_HEADERS | {"Content-Security-Policy": policy}
    return ASGIResponse(body=text, headers=headers, media_type="text/html")


def build_challenge_view(snapshot: ChallengeSnapshot) -> ChallengeView:
    """Return the view at the time of the snapshot, without code, hash or whole number."""
    challenge = snapshot.challenge
    if challenge is None:
        raise ChallengeNotFound
    verified_at = challenge.verified_at
    return ChallengeView(
        id=challenge.id,
        status=challenge.compute_status(snapshot.now),
        phone_number=challenge.masked_number,
        purpose=challenge.purpose,
        account=challenge.account,
        created_at=format_rfc3339(challenge.created_at),
        expires_at=format_rfc3339(challenge.deadline),
        attempts_left=challenge.attempts_left,
        sends_left=challenge.sends_left,
        resend_at=format_rfc3339(challenge.resend_at),
        delivery=_build_delivery_view(challenge),
        verified_at=msgspec.UNSET if verified_at is None else format_rfc3339(verified_at),
    )


def build_code_delivery_view(snapshot: ChallengeSnapshot) -> CodeDeliveryView:
    """Return the view of a delivery, without code or whole number."""
    delivery = snapshot.require_challenge()
    return CodeDeliveryView(
        id=delivery.id,
        phone_number=delivery.masked_number,
        purpose=delivery.purpose,
        account=delivery.account,
        created_at=format_rfc3339(delivery.created_at),
        delivery=_build_delivery_view(delivery),
    )


def _build_delivery_view(challenge: Challenge) -> DeliveryView:
    submissions = challenge.submissions
    senders = [submission.provider for submission in submissions if submission.may_be_billed]
    return DeliveryView(
        status=compute_delivery_status(submissions),
        provider=senders[-1] if senders else None,
        submissions=[
            SubmissionView(s.provider, s.outcome, s.fault, s.reason, format_rfc3339(s.at))
            for s in submissions
        ],
    )
