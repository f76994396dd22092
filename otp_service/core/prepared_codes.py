"""Codes that were drawn and hashed in idle time, for bursts of issues.

    preparation   code, salt → argon2id → `PreparedCodes.add`
    issue         `reserve` → charge every limit → `CodeReservation.take` → HMAC under the pepper

A prepared code belongs to no person and no challenge: its hash is bound to them, and to the pepper,
when it is taken. A call reserves one before it is charged, so that it is known whether it needs
argon2. It takes the code only after every limit has admitted it, so calls that are refused cannot
empty the stock. A code that was taken never returns.
"""

import math
from collections import deque
from types import TracebackType
from typing import Self

import msgspec

from otp_service.core.argon2_profile import Argon2Profile
from otp_service.core.timestamps import SECOND_MS


MAX_REFILL_MS = 3 * SECOND_MS
"""The time of one thread in which an empty stock is refilled, at the most."""


class HashedCode(msgspec.Struct, frozen=True):
    """A code and its argon2 hash, before the pepper and the challenge are applied."""

    code: str
    salt: bytes
    argon2_hash: bytes

    def __repr__(self) -> str:
        return "HashedCode()"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        # The default of msgspec shows the code in pretty tracebacks.
        return []


def count_prepared_codes(max_codes: int, hash_ms: float) -> int:
    """Return how many codes to keep: at most `max_codes`, refilled within MAX_REFILL_MS."""
    return min(max_codes, math.floor(MAX_REFILL_MS / hash_ms)) if hash_ms > 0 else max_codes


class PreparedCodes:
    """The stock of one process: codes of one length, hashed with one profile."""

    def __init__(self, capacity: int, digits: int, profile: Argon2Profile) -> None:
        self._capacity = capacity
        self._digits = digits
        self._profile = profile
        self._codes: deque[HashedCode] = deque()
        self._reserved = 0

    def __len__(self) -> int:
        return len(self._codes)

    @property
    def is_full(self) -> bool:
        return len(self._codes) >= self._capacity

    def add(self, code: HashedCode) -> None:
        """Add a code that no call has seen; it is dropped if the stock is full or closed."""
        if not self.is_full:
            self._codes.append(code)

    def reserve(self, digits: int, profile: Argon2Profile) -> "CodeReservation | None":
        """Return the right to a code of this length and profile; None if all are reserved."""
        is_kind = (digits, profile) == (self._digits, self._profile)
        if not is_kind or self._reserved >= len(self._codes):
            return None
        self._reserved += 1
        return CodeReservation(self)

    def pop_reserved(self) -> HashedCode | None:
        """Remove a code, for the holder of a reservation; None after `close`."""
        return self._codes.popleft() if self._codes else None

    def release(self) -> None:
        self._reserved -= 1

    def close(self) -> None:
        """Drop every code, and keep no other one."""
        self._capacity = 0
        self._codes.clear()


class CodeReservation:
    """A context manager: the right to one code of the stock, which no other call can take."""

    def __init__(self, stock: PreparedCodes) -> None:
        self._stock: PreparedCodes | None = stock

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def take(self) -> HashedCode | None:
        """Return the code, once; None if the stock was closed meanwhile."""
        stock = self._stock
        self.close()
        return None if stock is None else stock.pop_reserved()

    def close(self) -> None:
        """Give the right up, unless it was used."""
        if self._stock is not None:
            self._stock.release()
            self._stock = None
