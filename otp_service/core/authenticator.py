"""An authenticator app (TOTP, RFC 6238): its sealed state, and which time steps are accepted.

    create ──► unconfirmed (30 minutes) ──confirm──► active, for as long as the caller keeps the token

The caller holds the authenticator as a sealed token. Redis holds the last accepted step for as long
as an older code could still match, under a name that one secret of an account has in each of its
tokens. Codes are computed by pyotp's HOTP for one step at a time: its
TOTP takes the first match and not the newest, knows no last step, and accepts digits of other scripts.
"""

import hashlib
import hmac
import re
from base64 import b32decode, b32encode
from collections.abc import Callable
from enum import Enum, StrEnum, auto

import msgspec
import pyotp
from msgspec.structs import replace

from otp_service.core import errors
from otp_service.core.codes import constant_time_equal
from otp_service.core.keys import join_length_prefixed
from otp_service.core.sealed_token import InvalidToken, TokenCipher, TokenKind
from otp_service.core.timestamps import CLOCK_TOLERANCE_MS, MINUTE_MS, SECOND_MS


AUTHENTICATOR_ID_BYTES = 16
"""Ids are drawn at random; events name an authenticator by its id."""

_STATE_ID_BYTES = 16

NEW_SECRET_BYTES = 20
"""RFC 4226 R6 recommends 160 bits; 20 bytes are base32 without padding."""

MIN_SECRET_BITS = 112
"""NIST SP 800-63B-4 §3.1.4.1. pyotp refuses fewer."""

MIN_API_SECRET_BITS = 128
"""RFC 4226 R6. Only the command line imports shorter ones."""

MAX_SECRET_BYTES = 128
"""The block of SHA-512: HMAC replaces a longer key by its hash."""

CODE_DIGITS = range(6, 9)
PERIOD_SECONDS = range(10, 121)
"""NIST SP 800-63B-4 §3.1.4.1 asks for a new code every two minutes at the latest."""

UNCONFIRMED_TTL_MS = 30 * MINUTE_MS

WINDOW_STEPS = 1
"""How many steps before and after the present one match (RFC 6238 §5.2)."""


class Algorithm(StrEnum):
    """The hash of the HMAC, as stored; the names of `otpauth://` are in capitals."""

    SHA1 = "sha1"
    SHA256 = "sha256"
    SHA512 = "sha512"


_DIGEST_FUNCTIONS = {
    Algorithm.SHA1: hashlib.sha1,
    Algorithm.SHA256: hashlib.sha256,
    Algorithm.SHA512: hashlib.sha512,
}


class Authenticator(msgspec.Struct, frozen=True, array_like=True):
    """The body of a token. Instants are milliseconds by Redis's clock."""

    # Stored by position: never reorder the fields (tests/golden/test_stored_bytes.py).
    id: bytes
    tenant: str
    account: str
    secret: bytes
    algorithm: Algorithm
    digits: int
    period: int
    """Seconds."""
    created_at: int
    confirmed_step: int | None = None
    """The step of the confirming code, which is never accepted again; None before."""
    confirmed_at: int | None = None

    def __repr__(self) -> str:
        return f"Authenticator({self.id.hex()})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        # The default of msgspec shows the secret in pretty tracebacks.
        return [("id", self.id.hex())]

    @property
    def expires_at(self) -> int | None:
        """The instant from which it can no longer be confirmed; None once it is confirmed."""
        return None if self.confirmed_at is not None else self.created_at + UNCONFIRMED_TTL_MS

    @property
    def base32_secret(self) -> str:
        """The secret as apps take it: RFC 4648 base32 in capitals, without padding."""
        return _format_base32(self.secret)

    @property
    def state_id(self) -> str:
        """The name of its last accepted step: the same in every token that accepts the same codes.

        One secret may be imported twice, or exported and imported, under any key of the ring. Secrets
        with equal codes, such as one with a zero byte at the end, give equal HMACs. The digits are
        left out: six digits are the end of the eight of that step. Steps of other periods are other
        numbers. The name shows as little of the secret as a code, and is no code: those are HMACs of
        eight bytes.
        """
        fields = ("authenticator state", self.tenant, self.account, str(self.period))
        joined = join_length_prefixed(*(field.encode() for field in fields))
        return hmac.digest(self.secret, joined, self.algorithm)[:_STATE_ID_BYTES].hex()

    def compute_step(self, now: int) -> int:
        """Return the number of the time step of this instant (RFC 6238 §4.2)."""
        return now // (self.period * SECOND_MS)

    def compute_code(self, step: int) -> str:
        """Return the code of a step. Raises ValueError if it is negative."""
        digest = _DIGEST_FUNCTIONS[self.algorithm]
        return pyotp.HOTP(self.base32_secret, digits=self.digits, digest=digest).at(step)

    def check_active(self) -> None:
        """Raise AuthenticatorNotConfirmed unless it was confirmed."""
        if self.confirmed_at is None:
            raise errors.AuthenticatorNotConfirmed

    def check_unconfirmed(self) -> None:
        """Raise AuthenticatorAlreadyConfirmed if it was confirmed."""
        if self.confirmed_at is not None:
            raise errors.AuthenticatorAlreadyConfirmed

    def confirm(self, step: int, now: int) -> "Authenticator":
        """Return it as active; a code of this or an earlier step is never accepted."""
        return replace(self, confirmed_step=step, confirmed_at=now)

    def seal(self, cipher: TokenCipher) -> str:
        """Return its token under the current key."""
        return cipher.seal(TokenKind.AUTHENTICATOR, msgspec.msgpack.encode(self))


def create_authenticator(
    token_bytes: Callable[[int], bytes],
    tenant: str,
    account: str,
    now: int,
    secret: bytes | None = None,
) -> Authenticator:
    """Return an unconfirmed authenticator of the one form that every app supports.

    Many apps take SHA-256, eight digits or another period without a word, and then show codes of
    SHA-1, six digits and 30 s. `token_bytes` must be of a CSPRNG; a `secret` is one to import.
    """
    return Authenticator(
        id=token_bytes(AUTHENTICATOR_ID_BYTES),
        tenant=tenant,
        account=account,
        secret=secret or token_bytes(NEW_SECRET_BYTES),
        algorithm=Algorithm.SHA1,
        digits=6,
        period=30,
        created_at=now,
    )


def parse_base32_secret(text: str, min_bits: int) -> bytes:
    """Return the secret of a base32 text; case, spaces, hyphens and padding at the end are ignored.

    Bits after the last byte must be zero (RFC 4648 §3.5): else the text was cut off, or mistyped, and
    an imported authenticator would never accept a code.

    Raises ValueError with a sentence for the caller, which never repeats the text.
    """
    compact = text.replace(" ", "").replace("-", "").rstrip("=")
    if not re.fullmatch("[A-Za-z2-7]+", compact):  # before upper(), which makes S of U+017F
        raise ValueError("must be base32: the letters A to Z and the digits 2 to 7")
    compact = compact.upper()
    try:
        secret = b32decode(compact + "=" * (-len(compact) % 8))
    except ValueError:
        secret = b""
    if _format_base32(secret) != compact:
        raise ValueError("must be base32: characters are missing or wrong at the end")
    check_secret_length(secret, min_bits)
    return secret


def _format_base32(secret: bytes) -> str:
    return b32encode(secret).rstrip(b"=").decode()


def check_secret_length(secret: bytes, min_bits: int) -> None:
    """Raise ValueError unless the secret has `min_bits` or more, and 128 bytes at most."""
    if len(secret) * 8 < min_bits:
        raise ValueError(f"must have at least {min_bits} bits, and has {len(secret) * 8}")
    if len(secret) > MAX_SECRET_BYTES:
        raise ValueError(f"must have at most {MAX_SECRET_BYTES * 8} bits")


def open_authenticator(
    cipher: TokenCipher, token: str, tenant: str, account: str, now: int | None
) -> tuple[Authenticator, str]:
    """Return the authenticator of a token, and the id of the key that sealed it.

    Without `now` an expired one is opened too: a call may be repeated after its token has expired.

    Raises InvalidAuthenticator, with one text for every reason, if the token is not one of ours, was
    altered, belongs to another tenant or account, or was not confirmed within 30 minutes.
    """
    try:
        authenticator, key_id = decode_authenticator(cipher, token)
    except InvalidToken:
        raise errors.InvalidAuthenticator from None
    is_tenant = constant_time_equal(authenticator.tenant.encode(), tenant.encode())
    is_account = constant_time_equal(authenticator.account.encode(), account.encode())
    if not (is_tenant & is_account) or _has_expired(authenticator, now):
        raise errors.InvalidAuthenticator
    return authenticator, key_id


def decode_authenticator(cipher: TokenCipher, token: str) -> tuple[Authenticator, str]:
    """Return the authenticator of any tenant and account, and the id of its key.

    This is for the command line, which has the key ring alone. Raises InvalidToken.
    """
    opened = cipher.open(TokenKind.AUTHENTICATOR, token)
    try:
        return msgspec.msgpack.decode(opened.body, type=Authenticator), opened.key_id
    except msgspec.MsgspecError:
        raise InvalidToken from None


def _has_expired(authenticator: Authenticator, now: int | None) -> bool:
    """Return whether it can no longer be confirmed.

    One that was created in the future counts as expired, like a challenge: the clock was ahead.
    """
    expires_at = authenticator.expires_at
    if expires_at is None or now is None:
        return False
    return not authenticator.created_at - CLOCK_TOLERANCE_MS <= now < expires_at


def list_matching_steps(authenticator: Authenticator, code: str, now: int) -> tuple[int, ...]:
    """Return the steps of the window whose code this is: two for one code in a million.

    Every candidate is computed and compared, whether or not an earlier one matched.
    """
    current = authenticator.compute_step(now)
    steps = range(max(0, current - WINDOW_STEPS), current + WINDOW_STEPS + 1)
    typed = code.encode()
    matches = [constant_time_equal(authenticator.compute_code(s).encode(), typed) for s in steps]
    return tuple(step for step, matched in zip(steps, matches, strict=True) if matched)


class StepDecision(Enum):
    ACCEPTED = auto()
    USED = auto()
    """The code is right, and its step or a later one was accepted before, or may have been and a step
    that can be accepted has begun."""
    MISMATCH = auto()
    TOO_EARLY = auto()
    """The code is right, Redis may have lost that its step was accepted, and no later step that can
    be accepted has begun."""


class StepVerdict(msgspec.Struct, frozen=True):
    decision: StepDecision
    step: int | None = None
    """The newest matching step; None for a mismatch."""
    retry_after: int = 0
    """If it is too early: seconds until the first acceptable step begins."""


def decide_step(
    authenticator: Authenticator,
    matches: tuple[int, ...],
    last_step: int | None,
    epoch: int,
    now: int,
) -> StepVerdict:
    """Return whether the newest matching step is accepted.

    `last_step` is what Redis has, and `epoch` the instant at which this Redis began to know steps.
    A step at or before the last or the confirming one is never accepted (RFC 6238 §5.2). What was
    accepted before the epoch is unknown, up to the step after the epoch's beginning, which matches
    from a clock that is ahead: such a code is too early until a step after those begins, so that the
    wait ends with a code that is accepted, and used from then on. An authenticator that was created
    in the epoch is known whole.
    """
    if not matches:
        return StepVerdict(StepDecision.MISMATCH)
    step = max(matches)
    known_steps = [s for s in (last_step, authenticator.confirmed_step) if s is not None]
    if step <= max(known_steps, default=-1):
        return StepVerdict(StepDecision.USED, step)
    if step <= (unknown_until := _compute_last_unknown_step(authenticator, epoch, now)):
        acceptable_at = (unknown_until + 1) * authenticator.period * SECOND_MS
        if now >= acceptable_at:
            return StepVerdict(StepDecision.USED, step)
        return StepVerdict(StepDecision.TOO_EARLY, step, -((now - acceptable_at) // SECOND_MS))
    return StepVerdict(StepDecision.ACCEPTED, step)


def _compute_last_unknown_step(authenticator: Authenticator, epoch: int, now: int) -> int:
    """Return the last step of which Redis may have lost that it was accepted; -1 for none.

    It counts when the authenticator was created, and not when it was confirmed: Redis may also have
    lost an earlier confirmation of the same token, and what was accepted after that. An instant in
    the future is that of an import with a clock that was ahead, and shows nothing.
    """
    if epoch <= authenticator.created_at <= now:
        return -1
    return authenticator.compute_step(epoch) + WINDOW_STEPS
