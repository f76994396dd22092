"""The source of random numbers: the functions of the system, or those that tests pass."""

from collections.abc import Callable
from dataclasses import dataclass


OPERATION_ID_BYTES = 16


@dataclass
class RandomSource:
    randbelow: Callable[[int], int]
    token_bytes: Callable[[int], bytes]
    _unused_bytes: bytes = b""

    def generate_operation_id(self) -> str:
        """Return the id of an operation or of an event.

        Ids are not secret, so they are drawn in blocks of 64: each login needs a dozen, and a
        system call for each costs more than all other work on them.
        """
        if len(self._unused_bytes) < OPERATION_ID_BYTES:
            self._unused_bytes = self.token_bytes(64 * OPERATION_ID_BYTES)
        unused = self._unused_bytes
        self._unused_bytes = unused[OPERATION_ID_BYTES:]
        return unused[:OPERATION_ID_BYTES].hex()
