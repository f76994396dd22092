"""Signatures of Standard Webhooks: HMAC-SHA-256 over id, time and body.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hmac
from collections.abc import Iterable, Mapping


SECRET_PREFIX = "whsec_"  # noqa: S105  # the beginning of every secret


def decode_webhook_secret(text: str) -> bytes:
    """Return the key of `whsec_` and base64, in either alphabet; empty if it is invalid."""
    encoded = text.removeprefix(SECRET_PREFIX)
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), b"-_", validate=True)
    except ValueError:
        return b""


def is_signed_webhook(headers: Mapping[str, str], body: bytes, keys: Iterable[bytes]) -> bool:
    """Return whether a signature is of one of the keys. The time is the caller's to check.

    Several signatures are separated by a space; Supabase writes a comma before it.
    """
    webhook_id, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not webhook_id or "." in webhook_id:
        return False  # with a full stop the id may be a part of the body
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    given = [each.strip(",").encode() for each in headers.get("webhook-signature", "").split()]
    # Anyone can sign with an empty key.
    expected = [_compute_signature(key, signed) for key in keys if key]
    matches = [hmac.compare_digest(one, other) for one in expected for other in given]
    return any(matches)


def sign_webhook(webhook_id: str, timestamp: int, body: bytes, key: bytes) -> dict[str, str]:
    """Return the headers of a request with this body; `timestamp` in seconds since 1970."""
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": _compute_signature(key, signed).decode("ascii"),
    }


def _compute_signature(key: bytes, signed: bytes) -> bytes:
    return b"v1," + base64.b64encode(hmac.digest(key, signed, "sha256"))
