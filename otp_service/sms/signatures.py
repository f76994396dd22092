"""How vendors sign callbacks: HMACs in base64, and JSON Web Signatures (RFC 7515)."""

import base64
import hmac
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Final, TypeVar

import msgspec

from otp_service.core.secret import Secret
from otp_service.core.url_check import FieldErrors
from otp_service.sms.provider_callbacks import CallbackSignatureError, require_equal


JWT_DIGESTS = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}
"""`none`, or an algorithm with a public key, would let anyone sign."""

ClaimsT = TypeVar("ClaimsT")

SENDER_NAME: Final = "From"
"""The field of a message with the sender, at Twilio and at Plivo."""
_SENDER_NAME_PATTERN: Final = re.compile(r"From([A-Z][a-z]+)*")
"""Also the names that begin with it, like `FromCity`: Twilio has four, and adds fields without notice."""


class _JwtHeader(msgspec.Struct):
    alg: str


def compute_signature(key: bytes, signed: bytes, digest: str = "sha256") -> str:
    return base64.b64encode(hmac.digest(key, signed, digest)).decode()


def require_any_equal(value: str, candidates: Iterable[str]) -> None:
    """Raise CallbackSignatureError unless one candidate is equal; each takes constant time.

    Vendors send two signatures while their keys change.
    """
    expected = value.encode(errors="replace")
    matches = [hmac.compare_digest(expected, each.encode(errors="replace")) for each in candidates]
    if not any(matches):
        raise CallbackSignatureError


def require_one_reading(
    fields: Iterable[tuple[str, str]],
    patterns: Mapping[str, re.Pattern[str]],
    lookalikes: Collection[str] = (),
    *,
    url: str = "",
) -> None:
    """Raise CallbackSignatureError if the signed text of these fields can be read in another way.

    Twilio and Plivo sign names and values one after another, so the owner of a signed callback could
    move a boundary: `ErrorCode2=1211` has the text of `ErrorCode=21211`. The dialect reads the fields
    of `patterns`; `lookalikes` are the vendor's other names that contain one of these. So the name of
    a field that is read must occur in the text once, as its name, and its value must match. Where the
    address precedes the fields in the signed text, `url` is that address: no such name is in it.
    """
    distinct = sorted(set(fields))
    text = "".join(name + value for name, value in distinct)
    for name, pattern in patterns.items():
        values = [value for field, value in distinct if field == name]
        known = len(values) + sum(field.count(name) for field, _ in distinct if field in lookalikes)
        if len(values) > 1 or text.count(name) != known or name in url:
            raise CallbackSignatureError
        if not all(pattern.fullmatch(value) for value in values):
            raise CallbackSignatureError


def has_one_sender(fields: Iterable[tuple[str, str]], signed_text: str) -> bool:
    """Return whether the signed text of a message can be read with one sender only.

    As in `require_one_reading`, but people write the text of a message, and may have written
    `STOPFrom+447400123456`. So `From` must occur in the signed text as the beginning of names alone.
    The fields are sorted, so nothing else can be moved without it: what is left of an id or a
    receiver is not of its form. A message for which this is false is genuine, and has no effect.
    """
    names = [name for name, _ in set(fields) if _SENDER_NAME_PATTERN.fullmatch(name)]
    has_no_other = signed_text.count(SENDER_NAME) == len(names) == len(set(names))
    return has_no_other and SENDER_NAME in names


def find_ambiguous_token_errors(tokens: Iterable[Secret]) -> FieldErrors:
    """Yield an error if a secret of the address would leave no message with one sender only."""
    if any(SENDER_NAME in token.reveal() for token in tokens):
        yield "inbound_token", f"choose one without {SENDER_NAME}: no message would have a keyword"


def decode_jwt(
    token: str, key: str, claims_type: type[ClaimsT], algorithms: Collection[str]
) -> ClaimsT:
    """Return the claims of a token with a valid signature. Raises CallbackSignatureError.

    PyJWT is not used: it has no clock but its own, and half of the claims are the vendors' own.
    """
    signed, _, given = token.rpartition(".")
    head, _, payload = signed.partition(".")
    algorithm = _decode_part(head, _JwtHeader).alg
    if algorithm not in algorithms:
        raise CallbackSignatureError
    expected = hmac.digest(key.encode(), signed.encode(), JWT_DIGESTS[algorithm])
    require_equal(expected, decode_base64(given))
    return _decode_part(payload, claims_type)


def _decode_part(part: str, struct_type: type[ClaimsT]) -> ClaimsT:
    try:
        return msgspec.json.decode(decode_base64(part), type=struct_type)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise CallbackSignatureError from None


def decode_base64(text: str) -> bytes:
    """Return the bytes of base64 in either alphabet, padded or not; empty if it is invalid."""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    except ValueError:
        return b""
