"""How vendors sign what they bring: HMACs in base64, and tokens (RFC 7515) that are one."""

import base64
import hmac
from collections.abc import Collection, Iterable
from typing import TypeVar

import msgspec

from otp_service.sms.callbacks import BadSignature, check
from otp_service.sms.vendor_dialect import read


DIGESTS = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}
"""Of tokens. `none`, or an algorithm with a public key, would let anybody sign."""

Claims = TypeVar("Claims")


class _Head(msgspec.Struct):
    alg: str


def signature(key: bytes, signed: bytes, digest: str = "sha256") -> str:
    """Return the signature of these bytes."""
    return base64.b64encode(hmac.digest(key, signed, digest)).decode()


def check_any(one: str, others: Iterable[str]) -> None:
    """Raise BadSignature unless one of these is the same; vendors send two while keys change.

    In constant time for each of them, as callbacks.check.
    """
    known = one.encode(errors="replace")
    fitting = [hmac.compare_digest(known, other.encode(errors="replace")) for other in others]
    if not any(fitting):
        raise BadSignature


def claims(token: str, key: str, kind: type[Claims], algorithms: Collection[str]) -> Claims:
    """Return what a token says, once its signature has been checked. Raises BadSignature.

    By hand, as PyJWT knows no clock but its own, and half of the claims are the vendors' own.
    """
    signed, _, given = token.rpartition(".")
    head, _, payload = signed.partition(".")
    try:
        algorithm = read(decoded(head), _Head).alg
        if algorithm not in algorithms:
            raise BadSignature
        check(hmac.digest(key.encode(), signed.encode(), DIGESTS[algorithm]), decoded(given))
        return read(decoded(payload), kind)
    except ValueError:
        raise BadSignature from None


def decoded(text: str) -> bytes:
    """Return what base64 stands for, in either alphabet, padded or not; empty if it is none."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except ValueError:
        return b""
