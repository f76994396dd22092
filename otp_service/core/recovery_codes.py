"""Recovery codes: ten single-use codes of one account, as a token that the caller keeps.

    code_hash = HMAC-SHA-256(hash key, argon2id(code, salt))

A code has 80 random bits (NIST SP 800-63B-4 §3.1.2 asks for 64 of a saved recovery code). All codes of
a set have one salt, so one run of argon2 compares a code with all of them. The parameters of argon2
are in the set: it lives for a year, and the configuration may change meanwhile. The hash key is
derived from the `authenticator` key in force at the creation, for this set, tenant and account. It is
in the sealed token, so a set that is sealed under another key later needs neither the old key nor the
codes.
"""

import hmac
import re
from collections.abc import Callable, Iterable

import msgspec

from otp_service.core.argon2_profile import Argon2Profile
from otp_service.core.codes import constant_time_equal
from otp_service.core.errors import InvalidRecoverySet, MalformedCode
from otp_service.core.keys import Key, join_length_prefixed
from otp_service.core.sealed_token import InvalidToken, TokenCipher, TokenKind
from otp_service.core.timestamps import CLOCK_TOLERANCE_MS, DAY_MS


CODE_COUNT = 10

RECOVERY_SET_ID_BYTES = 16

RECOVERY_SET_TTL_MS = 400 * DAY_MS
"""After it was sealed. Redis keeps the marks of used codes for longer."""

CODE_BYTES = 10
"""80 bits are 16 characters of base32."""

CODE_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
"""Crockford's base32: without I, L and O, which look like digits, and without U."""

GROUP_CHARS = 4

MAX_TYPED_CHARS = 64
"""A code with its hyphens has 19; the rest is for separators that people add."""

MALFORMED_CODE_DETAIL = (
    "A recovery code is a string of 16 letters and digits, like 7K3M-9QXT-2ZRD-V8HA. The letter U is"
    " not used. No attempt was charged."
)


class RecoverySet(msgspec.Struct, frozen=True, array_like=True):
    """The body of a token. Instants are milliseconds by Redis's clock."""

    # Stored by position: never reorder the fields (tests/golden/test_stored_bytes.py).
    id: bytes
    tenant: str
    account: str
    created_at: int
    sealed_at: int
    salt: bytes
    hash_key: bytes
    memory_kib: int
    passes: int
    lanes: int
    hashes: tuple[bytes | None, ...]
    """By the position of the code in the set; None where the code was used."""

    def __repr__(self) -> str:
        return f"RecoverySet({self.id.hex()})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        # The default of msgspec shows the hash key in pretty tracebacks.
        return [("id", self.id.hex())]

    @property
    def profile(self) -> Argon2Profile:
        """The parameters of argon2id that its hashes were made with."""
        return Argon2Profile(self.memory_kib, self.passes, self.lanes)

    @property
    def codes_left(self) -> int:
        return len(self.hashes) - self.hashes.count(None)

    def seal(self, cipher: TokenCipher) -> str:
        """Return its token under the current key, which expires 400 days after `sealed_at`."""
        return cipher.seal(TokenKind.RECOVERY_SET, msgspec.msgpack.encode(self))


def build_recovery_set(  # noqa: PLR0913  # each one is stored in the set
    key: Key,
    *,
    id_: bytes,
    tenant: str,
    account: str,
    now: int,
    salt: bytes,
    profile: Argon2Profile,
    argon2_hashes: Iterable[bytes],
) -> RecoverySet:
    """Return the set of codes that were hashed with this salt and profile.

    `key` is the current `authenticator` key. `argon2_hashes` are argon2id of the normalized codes.
    """
    hash_key = key.compute_mac("recovery codes", id_, tenant.encode(), account.encode())
    return RecoverySet(
        id=id_,
        tenant=tenant,
        account=account,
        created_at=now,
        sealed_at=now,
        salt=salt,
        hash_key=hash_key,
        memory_kib=profile.memory_kib,
        passes=profile.passes,
        lanes=profile.lanes,
        hashes=tuple(compute_code_hash(hash_key, slow) for slow in argon2_hashes),
    )


def generate_recovery_codes(token_bytes: Callable[[int], bytes]) -> tuple[str, ...]:
    """Return ten codes of 80 random bits, like 7K3M-9QXT-2ZRD-V8HA."""
    return tuple(_format_code(token_bytes(CODE_BYTES)) for _ in range(CODE_COUNT))


def _format_code(random_bytes: bytes) -> str:
    number = int.from_bytes(random_bytes, "big")
    shifts = range(8 * len(random_bytes) - 5, -1, -5)
    text = "".join(CODE_ALPHABET[number >> shift & 31] for shift in shifts)
    return "-".join(text[i : i + GROUP_CHARS] for i in range(0, len(text), GROUP_CHARS))


def normalize_recovery_code(text: str) -> str:
    """Return the 16 characters of a typed code: in capitals, without spaces and hyphens.

    I and L count as 1, and O as 0. Raises MalformedCode for anything else. Only ASCII is converted
    to capitals: Python makes I of a dotless i, and S of a long s.
    """
    is_short_ascii = len(text) <= MAX_TYPED_CHARS and text.isascii()
    code = text.replace(" ", "").replace("-", "").upper() if is_short_ascii else ""
    code = code.translate(str.maketrans("ILO", "110"))
    if not re.fullmatch(rf"[{CODE_ALPHABET}]{{16}}", code):
        message = "must be 16 letters and digits, in groups of four"
        raise MalformedCode(("code", message), detail=MALFORMED_CODE_DETAIL)
    return code


def compute_code_hash(hash_key: bytes, argon2_hash: bytes) -> bytes:
    """Return what a set holds of a code; `argon2_hash` is argon2id of the code and the set's salt.

    `hash_key` is that of the set, which binds the hash to the set, its tenant and its account.
    """
    # Not Key.compute_mac, which caches the state of every key that it has seen.
    return hmac.digest(hash_key, join_length_prefixed(b"recovery code", argon2_hash), "sha256")


def open_recovery_set(
    cipher: TokenCipher, token: str, tenant: str, account: str, now: int
) -> tuple[RecoverySet, str]:
    """Return the set of a token, and the id of the key that sealed it.

    Raises InvalidRecoverySet, with one text for every reason, if the token is not one of ours, was
    altered, belongs to another tenant or account, or was sealed 400 days ago.
    """
    try:
        recovery_set, key_id = decode_recovery_set(cipher, token)
    except InvalidToken:
        raise InvalidRecoverySet from None
    is_tenant = constant_time_equal(recovery_set.tenant.encode(), tenant.encode())
    is_account = constant_time_equal(recovery_set.account.encode(), account.encode())
    if not (is_tenant & is_account) or _has_expired(recovery_set, now):
        raise InvalidRecoverySet
    return recovery_set, key_id


def decode_recovery_set(cipher: TokenCipher, token: str) -> tuple[RecoverySet, str]:
    """Return the set of any tenant and account, and the id of its key.

    This is for the command line, which has the key ring alone. Raises InvalidToken.
    """
    opened = cipher.open(TokenKind.RECOVERY_SET, token)
    try:
        return msgspec.msgpack.decode(opened.body, type=RecoverySet), opened.key_id
    except msgspec.MsgspecError:
        raise InvalidToken from None


def _has_expired(recovery_set: RecoverySet, now: int) -> bool:
    """Return whether it is refused by its age.

    One that was sealed in the future counts as expired, like a challenge: the clock was ahead.
    """
    sealed_at = recovery_set.sealed_at
    return not sealed_at - CLOCK_TOLERANCE_MS <= now < sealed_at + RECOVERY_SET_TTL_MS
