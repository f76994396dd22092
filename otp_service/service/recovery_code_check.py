"""What a recovery code proves: that it is one of the set, and was not used before.

Redis has the used codes of each set, under its random id, for longer than any of its tokens is valid.
So an older token of the set, or a restored row of the caller, does not accept a code twice. After a
loss of Redis only the newest token protects: it has no hash of a used code.
"""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import msgspec

from otp_service.core import errors, events
from otp_service.core.commit import RecordName
from otp_service.core.factor import Factor
from otp_service.core.ports import HashPriority
from otp_service.core.recovery_codes import (
    RecoverySet,
    compute_code_hash,
    normalize_recovery_code,
)
from otp_service.core.recovery_marks import (
    LOW_CODES_LEFT,
    MARKS_TTL_MS,
    CodeDecision,
    RecoveryMarks,
    decide_code,
)
from otp_service.core.sealed_token import TokenCipher
from otp_service.service.context import CallContext, Dependencies
from otp_service.service.factor_check import (
    Acceptance,
    Decision,
    FactorEvents,
    FactorState,
    Rejection,
)


RECOVERY_EVENTS = FactorEvents(
    events.RecoveryAttempted, events.RecoveryDenied, events.RecoveryLocked
)


class RecoveryAnswer(msgspec.Struct, frozen=True, array_like=True):
    """The token to store from now on, the codes that are left, and when the code was accepted."""

    # Stored by position: never reorder the fields (tests/golden/test_stored_bytes.py).
    token: str
    codes_left: int
    at: int


class OpenedRecoverySet(msgspec.Struct, frozen=True):
    recovery_set: RecoverySet
    key_id: str
    """The key that sealed it."""

    @property
    def event_fields(self) -> dict[str, str]:
        return {"recovery_set": self.recovery_set.id.hex(), "sealed_under": self.key_id}


class RecoveryCodeCheck:
    """Whether a code is accepted: the `FactorCheck` of a verify."""

    factor = Factor.RECOVERY_CODE
    event_kinds = RECOVERY_EVENTS
    is_login = True

    def __init__(
        self,
        dependencies: Dependencies,
        context: CallContext,
        cipher: TokenCipher,
        opened: OpenedRecoverySet,
        typed_code: str,
    ) -> None:
        self.context = context
        self._hasher = dependencies.hasher
        self._verify_slots = dependencies.verify_slots
        self._cipher = cipher
        self._recovery_set = opened.recovery_set
        self._typed_code = typed_code
        self._code = ""
        tenant = context.caller.tenant.name
        self.record_name = RecordName("recovery", tenant, self._recovery_set.id.hex())

    def list_fingerprint_fields(self) -> tuple[str, ...]:
        """Return the set and not its token, of which a repeat may send the newer one."""
        return self._recovery_set.id.hex(), self.context.account

    @property
    def compared_code(self) -> str:
        """The code in the form that is hashed; as it was typed if it is malformed."""
        try:
            return normalize_recovery_code(self._typed_code)
        except errors.MalformedCode:
            return self._typed_code

    def check_request(self) -> None:
        """Raise MalformedCode."""
        self._code = normalize_recovery_code(self._typed_code)

    def acquire_slots(self) -> ExitStack:
        """Take the slot of one run of argon2. Raises Overloaded."""
        return self._verify_slots.acquire(self.context.caller.tenant.name)

    async def compare(self, now: int) -> Callable[[FactorState], Decision]:  # noqa: ARG002
        """Return what decides, with the hash of the code: one run of argon2 compares all ten."""
        opened = self._recovery_set
        argon2_hash = await self._hasher.compute_argon2id(
            self._code, opened.salt, opened.profile, priority=HashPriority.VERIFY
        )
        return partial(self._decide, compute_code_hash(opened.hash_key, argon2_hash))

    def _decide(self, code_hash: bytes, state: FactorState) -> Decision:
        marks = RecoveryMarks.decode(state.record.body if state.record else None)
        verdict = decide_code(self._recovery_set, marks, code_hash)
        if verdict.decision is CodeDecision.USED:
            return self._reject(errors.CodeAlreadyUsed())
        if verdict.code is None:
            return self._reject(errors.IncorrectCode())
        return self._accept(marks.add(verdict.code), state.now)

    def _reject(self, error: errors.IncorrectCode | errors.CodeAlreadyUsed) -> Rejection:
        fields = self.context.build_event_fields(reason=error.reason)
        return Rejection(events.RecoveryRejected(**fields), error)

    def _accept(self, marks: RecoveryMarks, now: int) -> Acceptance:
        rest = marks.leave_out_used(self._recovery_set, now)
        fields, left = self.context.build_event_fields, rest.codes_left
        accepted: tuple[events.Event, ...]
        accepted = (events.RecoveryCodeUsed(**fields(), codes_left=left),)
        if left <= LOW_CODES_LEFT:
            accepted = (*accepted, events.RecoveryCodesLow(**fields(), codes_left=left))
        answer = RecoveryAnswer(rest.seal(self._cipher), left, now)
        return Acceptance(
            record=marks.encode(),
            expires_at=now + MARKS_TTL_MS,
            events=accepted,
            answer=msgspec.msgpack.encode(answer),
        )

    def build_repeat_event(self, answer: bytes) -> events.Event:
        left = msgspec.msgpack.decode(answer, type=RecoveryAnswer).codes_left
        fields = self.context.build_event_fields()
        return events.RecoveryCodeUsed(**fields, codes_left=left, repeated=True)
