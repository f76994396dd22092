"""Keys, instants and randomness that are the same in every run."""

import hashlib
import itertools
import re

from otp_service.core.keys import Key, KeyRing, ServiceKeys
from otp_service.service import RandomSource


NOW_MS = 1_795_512_600_123
"""2026-11-24T09:30:00.123Z."""

OPERATION_BLOCK_BYTES = 1024
"""`RandomSource` draws operation ids in blocks of this size, and nothing else does."""

OPERATION_NAME = re.compile(r"ee0e0e0e[0-9a-f]{24}")
"""An id that `fixed_random` has generated for an operation or an event."""


def fixed_key(name: str) -> Key:
    """Return the key with this id: 32 bytes that depend on the id alone."""
    return Key(name, hashlib.sha256(f"golden {name}".encode()).digest())


def fixed_keys() -> ServiceKeys:
    """Return one key in each of the six rings."""
    names = ("pepper", "seal", "state", "pseudonym", "limit", "authenticator")
    return ServiceKeys(*(KeyRing((fixed_key(f"{name}-1"),)) for name in names))


def fixed_bytes(label: str, count: int) -> bytes:
    """Return `count` bytes that depend on the label alone."""
    return hashlib.shake_256(label.encode()).digest(count)


def fixed_random() -> RandomSource:
    """Return a generator that draws the same values in the same order.

    Ids of operations and events have their own stream and prefix. Concurrent calls draw them in no
    fixed order, so golden files hide them (OPERATION_NAME).
    """
    operations, draws, codes = itertools.count(), itertools.count(), itertools.count(1)

    def draw_bytes(count: int) -> bytes:
        if count == OPERATION_BLOCK_BYTES:
            names = [
                bytes.fromhex("ee0e0e0e") + fixed_bytes(f"operation {next(operations)}", 12)
                for _ in range(count // 16)
            ]
            return b"".join(names)
        return fixed_bytes(f"draw {next(draws)}", count)

    return RandomSource(lambda limit: next(codes) * 111_111 % limit, draw_bytes)
