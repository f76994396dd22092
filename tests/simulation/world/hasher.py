"""A hasher of a bounded number of threads, in simulated time: a keyed blake2b in place of argon2id."""

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable

from otp_service.core.argon2_profile import TEST_PROFILE, Argon2Profile
from otp_service.core.ports import HashPriority
from tests.simulation.world.ports import Chance


HASH_MS = 20.0
"""What one hash takes; a drawn one takes from half of it to three times as long."""

ComparisonCallback = Callable[[str, bytes], None]
"""Called with the entered code and its salt once it is hashed."""


class SimulatedHasher:
    """Implements `core.ports.Hasher`, with the priorities of `hashing.pool.ArgonPool`."""

    hash_ms = HASH_MS

    def __init__(self, chance: Chance, on_comparison: ComparisonCallback, *, threads: int) -> None:
        self.profile = TEST_PROFILE
        self.slowness = 1.0
        """How many times as long every hash takes."""
        self._chance = chance
        self._on_comparison = on_comparison
        self._free_threads = threads
        self._waiting: tuple[deque[asyncio.Future[None]], ...] = tuple(
            deque() for _ in HashPriority
        )
        self._needed_by = 0

    @property
    def is_needed(self) -> bool:
        """Whether a call waits or runs that is no preparation."""
        return self._needed_by > 0

    async def compute_argon2id(
        self,
        code: str,
        salt: bytes,
        profile: Argon2Profile | None = None,
        *,
        priority: HashPriority = HashPriority.ISSUE,
    ) -> bytes:
        """Return the hash after its simulated time. Like a thread, one that runs is not canceled."""
        is_needed = priority != HashPriority.PREPARATION
        self._needed_by += is_needed
        try:
            await self._start(priority)
        finally:
            self._needed_by -= is_needed
        if priority == HashPriority.VERIFY:
            self._on_comparison(code, salt)
        return compute_hash(code, salt, profile or self.profile)

    async def _start(self, priority: HashPriority) -> None:
        """Wait for a thread, and then for the end of the hash."""
        future = asyncio.get_running_loop().create_future()
        self._waiting[priority].append(future)
        self._assign_threads()
        await future

    def _assign_threads(self) -> None:
        loop = asyncio.get_running_loop()
        for futures in self._waiting:
            while futures and self._free_threads:
                future = futures.popleft()
                if not future.done():  # its caller was canceled
                    self._free_threads -= 1
                    loop.call_later(self._draw_seconds(), self._finish, future)

    def _finish(self, future: asyncio.Future[None]) -> None:
        self._free_threads += 1
        if not future.done():
            future.set_result(None)
        self._assign_threads()

    def _draw_seconds(self) -> float:
        return HASH_MS * self.slowness * (0.5 + 2.5 * self._chance.draw_fraction()) / 1000


def compute_hash(code: str, salt: bytes, profile: Argon2Profile) -> bytes:
    """Return 32 bytes that stand for argon2id(code, salt) under a profile."""
    parts = (code, salt.hex(), profile.memory_kib, profile.passes, profile.lanes)
    return hashlib.blake2b(repr(parts).encode(), key=b"simulated argon2", digest_size=32).digest()
