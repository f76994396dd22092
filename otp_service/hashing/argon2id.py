"""argon2id of one code, in the calling thread."""

from argon2.low_level import Type, hash_secret_raw

from otp_service.core.argon2_profile import Argon2Profile


HASH_BYTES = 32


def compute_argon2id(profile: Argon2Profile, code: str, salt: bytes) -> bytes:
    """Return argon2id (RFC 9106) of a code. It takes milliseconds by design."""
    return hash_secret_raw(
        code.encode(),
        salt,
        time_cost=profile.passes,
        memory_cost=profile.memory_kib,
        parallelism=profile.lanes,
        hash_len=HASH_BYTES,
        type=Type.ID,
    )
