"""How vendors sign what they bring: HMACs in base64, and tokens (RFC 7515) that are one."""

import base64
import hmac
from collections.abc import Collection, Iterable
from typing import TypeVar

import msgspec

from otp_service.sms.receipt_callbacks import CallbackSignatureError, require_equal
from otp_service.sms.vendor_dialect import decode_json


JWT_DIGESTS = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}
"""Of tokens. `none`, or an algorithm with a public key, would let anybody sign."""

ClaimsT = TypeVar("ClaimsT")


class _JwtHeader(msgspec.Struct):
    alg: str


def compute_signature(key: bytes, signed: bytes, digest: str = "sha256") -> str:
    """Return the signature of these bytes."""
    return base64.b64encode(hmac.digest(key, signed, digest)).decode()


def require_any_equal(value: str, candidates: Iterable[str]) -> None:
    """Raise BadSignature unless one of these is the same; vendors send two while keys change.

    In constant time for each of them, as callbacks.check.
    """
    known = value.encode(errors="replace")
    fitting = [hmac.compare_digest(known, other.encode(errors="replace")) for other in candidates]
    if not any(fitting):
        raise CallbackSignatureError


def decode_jwt(
    token: str, key: str, claims_type: type[ClaimsT], algorithms: Collection[str]
) -> ClaimsT:
    """Return what a token says, once its signature has been checked. Raises BadSignature.

    By hand, as PyJWT knows no clock but its own, and half of the claims are the vendors' own.
    """
    signed, _, given = token.rpartition(".")
    head, _, payload = signed.partition(".")
    try:
        algorithm = decode_json(decode_base64(head), _JwtHeader).alg
        if algorithm not in algorithms:
            raise CallbackSignatureError
        require_equal(
            hmac.digest(key.encode(), signed.encode(), JWT_DIGESTS[algorithm]), decode_base64(given)
        )
        return decode_json(decode_base64(payload), claims_type)
    except ValueError:
        raise CallbackSignatureError from None


def decode_base64(text: str) -> bytes:
    """Return what base64 stands for, in either alphabet, padded or not; empty if it is none."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except ValueError:
        return b""
