"""Sealed tokens: an authenticator or a recovery set as opaque text, which the caller keeps.

    token  = kind and version (2) ‖ "." ‖ base64url without padding of the sealed bytes
    sealed = n (1) ‖ key id (n) ‖ nonce (12) ‖ AES-256-GCM(body)

The associated data is kind, version and key id, so that a token does not open as one of another kind.
The body holds tenant and account, which are compared after opening: so the key ring alone opens a
token, and `otp-service authenticators` needs no Redis. A random nonce is safe for 2^32 tokens under
one key (NIST SP 800-38D §8.3).
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from enum import StrEnum

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from otp_service.core.keys import Key, KeyRing, join_length_prefixed


NONCE_BYTES = 12

MAX_TOKEN_CHARS = 4096
"""A recovery set of the longest tenant and account has less than half of it."""


class InvalidToken(ValueError):
    """The text is not a token of this kind that a key of the ring has sealed.

    There is one error for every reason, without a text about the key or the body.
    """


class TokenKind(StrEnum):
    """What a token holds, and the version of its form: the first characters of the text."""

    AUTHENTICATOR = "a1"
    RECOVERY_SET = "r1"


class OpenedToken(msgspec.Struct, frozen=True):
    body: bytes
    key_id: str
    """The key that sealed it: an older one where it is not that of `TokenCipher.current_key_id`."""

    def __repr__(self) -> str:
        return f"OpenedToken({self.key_id})"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        # The default of msgspec shows the body in pretty tracebacks.
        return [("key_id", self.key_id)]


class TokenCipher:
    """Seals and opens tokens with the ring of the `authenticator` keys.

    `random` returns bytes of a CSPRNG. The cipher uses keys that are derived from those of the ring,
    so that other uses of the ring share no key with it.
    """

    def __init__(self, ring: KeyRing, random: Callable[[int], bytes]) -> None:
        self.current_key_id = ring.current.id
        self._ciphers = {key.id: _create_cipher(key) for key in ring}
        self._random = random

    def seal(self, kind: TokenKind, body: bytes) -> str:
        """Return a token under the current key; two tokens of one body differ."""
        key_id = self.current_key_id
        nonce = self._random(NONCE_BYTES)
        sealed = self._ciphers[key_id].encrypt(nonce, body, _build_context(kind, key_id))
        encoded_id = key_id.encode()
        data = len(encoded_id).to_bytes(1, "big") + encoded_id + nonce + sealed
        return f"{kind}.{urlsafe_b64encode(data).rstrip(b'=').decode()}"

    def open(self, kind: TokenKind, token: str) -> OpenedToken:
        """Return the body, and the id of the key that sealed it. Raises InvalidToken otherwise."""
        try:
            data = _decode_token(kind, token)
            end = 1 + data[0]
            key_id = data[1:end].decode()
            nonce, sealed = data[end : end + NONCE_BYTES], data[end + NONCE_BYTES :]
            body = self._ciphers[key_id].decrypt(nonce, sealed, _build_context(kind, key_id))
        except (InvalidTag, LookupError, ValueError):
            raise InvalidToken from None
        return OpenedToken(body, key_id)


def _create_cipher(key: Key) -> AESGCM:
    return AESGCM(key.compute_mac("authenticator token"))


def _build_context(kind: TokenKind, key_id: str) -> bytes:
    return join_length_prefixed(kind[:1].encode(), kind[1:].encode(), key_id.encode())


def _decode_token(kind: TokenKind, token: str) -> bytes:
    """Return the sealed bytes. Raises ValueError unless this is the one text form of them.

    Python's decoder skips characters that are not base64 and ignores trailing bits. A token with
    two text forms would be two tokens for a caller that looks it up.
    """
    prefix, _, text = token.partition(".")
    if prefix != kind or len(token) > MAX_TOKEN_CHARS:
        raise InvalidToken
    data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if urlsafe_b64encode(data).rstrip(b"=").decode() != text:
        raise InvalidToken
    return data
