"""Which codes of a recovery set were used, as Redis keeps it.

The token that a verify returns leaves out the used codes. An older token of the same set still has
them, so Redis keeps the hash of each used code for longer than any token of the set is valid. With
the hash, a used code is recognized with the newest token too. It is the keyed hash of a code that
verifies nothing any more.
"""

from enum import Enum, auto

import msgspec
from msgspec.structs import replace

from otp_service.core.codes import constant_time_equal
from otp_service.core.recovery_codes import RECOVERY_SET_TTL_MS, RecoverySet
from otp_service.core.timestamps import DAY_MS


MARKS_TTL_MS = RECOVERY_SET_TTL_MS + DAY_MS
"""After the last use, which seals the newest token of the set: marks outlive every token of it."""

LOW_CODES_LEFT = 3
"""From this many on, the user needs a new set."""


class UsedCode(msgspec.Struct, frozen=True, array_like=True):
    # Stored by position: never reorder the fields (tests/golden/test_stored_bytes.py).
    position: int
    """In the set, from 0."""
    code_hash: bytes


class RecoveryMarks(msgspec.Struct, frozen=True, array_like=True):
    """The used codes of one set."""

    # Stored by position: never reorder the fields (tests/golden/test_stored_bytes.py).
    used_codes: tuple[UsedCode, ...] = ()

    @classmethod
    def decode(cls, body: bytes | None) -> "RecoveryMarks":
        """Return the marks of a stored record; without one, no code is known as used."""
        return cls() if body is None else msgspec.msgpack.decode(body, type=cls)

    def encode(self) -> bytes:
        return msgspec.msgpack.encode(self)

    def add(self, used: UsedCode) -> "RecoveryMarks":
        return RecoveryMarks((*self.used_codes, used))

    def leave_out_used(self, recovery_set: RecoverySet, now: int) -> RecoverySet:
        """Return the set without the used codes, as a token that is sealed now holds it."""
        used = {code.position for code in self.used_codes}
        hashes = (None if i in used else h for i, h in enumerate(recovery_set.hashes))
        return replace(recovery_set, hashes=tuple(hashes), sealed_at=now)


class CodeDecision(Enum):
    ACCEPTED = auto()
    USED = auto()
    """The code is one of the set, and was accepted before."""
    MISMATCH = auto()


class CodeVerdict(msgspec.Struct, frozen=True):
    decision: CodeDecision
    code: UsedCode | None = None
    """What to mark as used; None unless the code is accepted."""


def decide_code(recovery_set: RecoverySet, marks: RecoveryMarks, code_hash: bytes) -> CodeVerdict:
    """Return whether the code with this hash is accepted.

    Every hash of the token and every mark is compared, whether or not an earlier one matched.
    """
    used = [constant_time_equal(code.code_hash, code_hash) for code in marks.used_codes]
    found = [
        UsedCode(position, code_hash)
        for position, other in enumerate(recovery_set.hashes)
        if other is not None and constant_time_equal(other, code_hash)
    ]
    if any(used):
        return CodeVerdict(CodeDecision.USED)
    if found:
        return CodeVerdict(CodeDecision.ACCEPTED, found[0])
    return CodeVerdict(CodeDecision.MISMATCH)
