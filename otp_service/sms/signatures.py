"""HMAC-SHA256 in base64, as several vendors sign what they bring."""

import base64
import hashlib
import hmac
from collections.abc import Iterable

from otp_service.sms.callbacks import BadSignature


def signature(key: bytes, signed: bytes) -> str:
    """Return the signature of these bytes."""
    return base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def check_any(expected: str, given: Iterable[str]) -> None:
    """Raise BadSignature unless one of these is the expected one; vendors send two while keys change.

    In constant time for each of them, as callbacks.check.
    """
    known = expected.encode()
    one_fits = [hmac.compare_digest(known, one.encode(errors="replace")) for one in given]
    if not any(one_fits):
        raise BadSignature
