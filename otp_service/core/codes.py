"""Codes: generation, normalization, and the hash in which a code is stored.

    code_hash = HMAC-SHA-256(pepper, argon2id(code, salt) ‖ tenant ‖ id ‖ purpose ‖ number ‖ deadline)

argon2id slows down an attacker with Redis and the pepper. Without the pepper, trying all 10^6 codes
is useless (R10). The context keeps a hash from matching after it was copied to another challenge.
"""

import hmac
import re
from collections.abc import Callable

from otp_service.core.errors import MalformedCode
from otp_service.core.keys import Key


SALT_BYTES = 16
"""RFC 9106 §3.1 recommends 16 bytes for password hashing; NIST asks for 4."""


def generate_code(randbelow: Callable[[int], int], digits: int) -> str:
    """Return a uniform code with leading zeros; `randbelow` must be of a CSPRNG (R1)."""
    return str(randbelow(10**digits)).zfill(digits)


def normalize_code(text: str, digits: int) -> str:
    """Return the typed code without spaces and hyphens.

    Raises MalformedCode unless the rest is ASCII digits: `\\d`, `str.isdigit` and `$` would accept
    digits of other scripts and a trailing newline (R8).
    """
    code = text.replace(" ", "").replace("-", "")
    if not re.fullmatch(rf"[0-9]{{{digits}}}", code):
        detail = f"The code must be a string of {digits} ASCII digits. No attempt was charged."
        raise MalformedCode(("code", f"must be {digits} ASCII digits"), detail=detail)
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
    """Return the stored hash; `argon2_hash` is argon2id of the code and the challenge's salt."""
    context = (tenant, challenge, purpose, number, str(deadline))
    return pepper.compute_mac("code", argon2_hash, *(field.encode() for field in context))


def constant_time_equal(expected: bytes, actual: bytes) -> bool:
    return hmac.compare_digest(expected, actual)
