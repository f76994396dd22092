"""argon2id outside the event loop, in a bounded number of threads.

argon2 releases the interpreter lock, so threads use every core. Memory is bounded by the threads
times the memory of the profile in force, or of the recovery sets that were made under another one.
`core.admission` bounds the waiting calls before anything is charged.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from argon2.low_level import Type, hash_secret_raw

from otp_service.core.argon2_profile import Argon2Profile


HASH_BYTES = 32


class ArgonPool:
    """Implements `core.ports.Hasher`."""

    def __init__(self, profile: Argon2Profile, workers: int) -> None:
        self.profile = profile
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="argon2")

    async def compute_argon2id(
        self, code: str, salt: bytes, profile: Argon2Profile | None = None
    ) -> bytes:
        loop, chosen = asyncio.get_running_loop(), profile or self.profile
        return await loop.run_in_executor(self._pool, compute_argon2id, chosen, code, salt)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)


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
