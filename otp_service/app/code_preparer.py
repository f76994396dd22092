"""Fills the stock of prepared codes while no caller needs argon2."""

import logging
import time
from collections.abc import Callable

from otp_service.core.codes import SALT_BYTES, generate_code
from otp_service.core.ports import HashPriority
from otp_service.core.prepared_codes import HashedCode, PreparedCodes
from otp_service.core.random_source import RandomSource
from otp_service.core.timestamps import SECOND_MS
from otp_service.hashing import ArgonPool


IDLE_SECONDS = 0.2
"""Until the stock is looked at again, if it is full or callers need argon2."""

MAX_SLOWNESS = 3.0
"""How many times as long as a hash a pause is at the most."""

FAILURE_PAUSE_SECONDS = 60.0
"""After a hash that failed, for example because memory was missing."""

logger = logging.getLogger(__name__)


class CodePreparer:
    """Prepares one code at a time, in a thread of the pool that has nothing else to do.

    It must start after the process serves, and never before a fork: two processes would have the
    same codes. `read_clock` returns seconds.
    """

    def __init__(
        self,
        stock: PreparedCodes,
        pool: ArgonPool,
        random: RandomSource,
        digits: int,
        read_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stock = stock
        self._pool = pool
        self._random = random
        self._digits = digits
        self._read_clock = read_clock

    async def prepare_next(self) -> float:
        """Prepare a code if there is time for it; return the seconds to wait until the next call."""
        if self._stock.is_full or self._pool.is_needed:
            return IDLE_SECONDS
        began = self._read_clock()
        try:
            self._stock.add(await self._hash_new_code())
        except Exception:
            logger.exception("no code could be prepared")
            return FAILURE_PAUSE_SECONDS
        elapsed_ms = (self._read_clock() - began) * SECOND_MS
        return compute_pause_seconds(elapsed_ms, self._pool.hash_ms)

    async def _hash_new_code(self) -> HashedCode:
        code = generate_code(self._random.randbelow, self._digits)
        salt = self._random.token_bytes(SALT_BYTES)
        argon2_hash = await self._pool.compute_argon2id(
            code, salt, priority=HashPriority.PREPARATION
        )
        return HashedCode(code, salt, argon2_hash)


def compute_pause_seconds(elapsed_ms: float, hash_ms: float) -> float:
    """Return the seconds to pause after a hash that took `elapsed_ms` instead of `hash_ms` of CPU.

    On an idle machine it is the time of the hash: half of one thread. On a busy machine, or one that
    is limited to a part of a core (`cpu: 100m` of Kubernetes), a hash takes longer than its CPU, and
    the pause is up to three times as long as it: a quarter of what the process gets.
    """
    slowness = max(1.0, elapsed_ms / hash_ms) if hash_ms > 0 else 1.0
    return elapsed_ms * min(slowness, MAX_SLOWNESS) / SECOND_MS
