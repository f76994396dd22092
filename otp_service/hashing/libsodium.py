"""argon2id by libsodium, through PyNaCl: the extra `fast`. Imported only where it is installed."""

from nacl.bindings import (
    crypto_pwhash_alg,
    crypto_pwhash_ALG_ARGON2ID13,
    crypto_pwhash_SALTBYTES,
)
from nacl.exceptions import CryptoError

from otp_service.core.argon2_profile import Argon2Profile
from otp_service.hashing.engines import HASH_BYTES, Argon2Error


class LibsodiumEngine:
    """libsodium chooses AVX2 or AVX-512 when it is loaded, so its wheels are fast on every CPU.

    It maps the memory of each hash and unmaps it afterwards. With 7168 KiB the kernel's part of that,
    1,792 page faults, is a third of its time.
    """

    name = "libsodium"

    def supports(self, profile: Argon2Profile, salt: bytes) -> bool:
        """Whether there is one lane and a salt of 16 bytes: `crypto_pwhash` has no others."""
        return profile.lanes == 1 and len(salt) == crypto_pwhash_SALTBYTES

    def compute(self, profile: Argon2Profile, code: str, salt: bytes) -> bytes:
        memory_bytes = profile.memory_kib * 1024
        algorithm = crypto_pwhash_ALG_ARGON2ID13
        try:
            return crypto_pwhash_alg(
                HASH_BYTES, code.encode(), salt, profile.passes, memory_bytes, algorithm
            )
        except CryptoError as error:
            raise Argon2Error(str(error)) from error
