"""The code itself: drawing it, reading it back, and the only form in which it is kept.

    code_hash = HMAC-SHA-256(pepper, argon2id(code, salt) ‖ tenant ‖ id ‖ purpose ‖ number ‖ deadline)

argon2id slows down whoever has Redis and the pepper; without the pepper all 10^6 codes can be
tried in vain (R10). The context keeps a hash that was copied to another challenge from matching.
"""

import hmac
import re
from collections.abc import Callable

from otp_service.core.errors import MalformedCode
from otp_service.core.keys import Key


SALT_BYTES = 16
"""RFC 9106 §3.1 recommends 16 bytes for password hashing; NIST asks for 4."""


def generate_code(randbelow: Callable[[int], int], digits: int) -> str:
    """Return a uniform code with its leading zeros; `randbelow` has to be a CSPRNG's (R1)."""
    return str(randbelow(10**digits)).zfill(digits)


def normalize_code(text: str, digits: int) -> str:
    """Return the code that a person typed; spaces and hyphens are ignored.

    Raises MalformedCode for anything else than ASCII digits: `\\d`, `str.isdigit` and `$` would
    let other scripts' digits and a trailing newline through (R8).
    """
    code = text.replace(" ", "").replace("-", "")
    if not re.fullmatch(rf"[0-9]{{{digits}}}", code):
        raise MalformedCode(("code", f"must be {digits} ASCII digits"))
    return code


def hash_code(  # noqa: PLR0913  # each one is bound to the hash
    pepper: Key,
    argon2_hash: bytes,
    *,
    tenant: str,
    challenge: str,
    purpose: str,
    number: str,
    deadline: int,
) -> bytes:
    """Return what is stored of a code; `slow` is argon2id of the code and the challenge's salt."""
    context = (tenant, challenge, purpose, number, str(deadline))
    return pepper.compute_mac("code", argon2_hash, *(field.encode() for field in context))


def constant_time_equal(expected: bytes, actual: bytes) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(expected, actual)
