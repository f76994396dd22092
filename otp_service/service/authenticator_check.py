"""What a code of an authenticator app proves: its confirmation, or a login.

Redis has the last accepted time step of each secret of an account, for longer than a code of that
step can match. The step of the confirming code is in the token.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import msgspec

from otp_service.core import errors, events
from otp_service.core.authenticator import (
    Authenticator,
    StepDecision,
    StepVerdict,
    decide_step,
    list_matching_steps,
)
from otp_service.core.codes import normalize_code
from otp_service.core.commit import RecordName
from otp_service.core.factor import Factor
from otp_service.core.sealed_token import TokenCipher
from otp_service.core.timestamps import MINUTE_MS
from otp_service.schemas import ConfirmAuthenticatorRequest, VerifyAuthenticatorRequest
from otp_service.service.context import CallContext
from otp_service.service.factor_check import (
    Acceptance,
    Decision,
    Deferral,
    FactorEvents,
    FactorState,
    Rejection,
)


STATE_TTL_MS = 10 * MINUTE_MS
"""Longer than a code can match: two periods after the end of its step, of at most two minutes."""

EPOCH_LIMIT = "CodesAfterDataLoss"
"""The `limit` of a code that is right, and that Redis may have lost to have been accepted before."""

AUTHENTICATOR_EVENTS = FactorEvents(
    events.AuthenticatorAttempted, events.AuthenticatorDenied, events.AuthenticatorLocked
)


class AuthenticatorAnswer(msgspec.Struct, frozen=True, array_like=True):
    """The token to store from now on, and when the code was accepted."""

    # Stored by position: never reorder the fields (tests/golden/test_stored_bytes.py).
    token: str
    at: int


class LastStep(msgspec.Struct, frozen=True, array_like=True):
    """What Redis has of an authenticator."""

    # Stored by position: never reorder the fields (tests/golden/test_stored_bytes.py).
    step: int


class OpenedAuthenticator(msgspec.Struct, frozen=True):
    authenticator: Authenticator
    token: str
    """As the caller has sent it."""
    key_id: str
    """The key that sealed it."""

    @property
    def event_fields(self) -> dict[str, str]:
        return {"authenticator": self.authenticator.id.hex(), "sealed_under": self.key_id}


class ConfirmationCheck:
    """Whether a code proves that the user has set up the app: the `FactorCheck` of a confirm."""

    factor = Factor.AUTHENTICATOR
    event_kinds = AUTHENTICATOR_EVENTS
    is_login = False

    def __init__(
        self,
        context: CallContext,
        cipher: TokenCipher,
        opened: OpenedAuthenticator,
        request: ConfirmAuthenticatorRequest | VerifyAuthenticatorRequest,
    ) -> None:
        self.context = context
        self._cipher = cipher
        self._opened = opened
        self._authenticator = opened.authenticator
        self._typed_code = request.code
        self._code = ""
        self.record_name = RecordName(
            "authenticator", context.caller.tenant.name, self._authenticator.state_id
        )

    def list_fingerprint_fields(self) -> tuple[str, ...]:
        """Return the authenticator and not its token, of which a repeat may send a newer one."""
        purpose = self.context.challenge.purpose or ""
        return self._authenticator.id.hex(), self.context.account, purpose

    @property
    def compared_code(self) -> str:
        """The code without the separators that are ignored."""
        return self._typed_code.replace(" ", "").replace("-", "")

    def check_request(self) -> None:
        """Raise MalformedCode, or what its status refuses."""
        self._code = normalize_code(self._typed_code, self._authenticator.digits)
        self._check_status()

    def acquire_slots(self) -> AbstractContextManager[object]:
        """Return nothing to wait for: three HMACs need no admission."""
        return nullcontext()

    async def compare(self, now: int) -> Callable[[FactorState], Decision]:
        """Return what decides, with every step of the window whose code was typed."""
        matches = list_matching_steps(self._authenticator, self._code, now)
        return partial(self._decide, matches)

    def _decide(self, matches: tuple[int, ...], state: FactorState) -> Decision:
        record = state.record
        last = msgspec.msgpack.decode(record.body, type=LastStep).step if record else None
        verdict = decide_step(self._authenticator, matches, last, state.epoch, state.now)
        fields = self.context.build_event_fields
        match verdict.decision:
            case StepDecision.MISMATCH:
                error = errors.IncorrectCode()
                event = events.AuthenticatorRejected(**fields(reason=error.reason))
                return Rejection(event, error)
            case StepDecision.USED:
                return Rejection(events.AuthenticatorReplayed(**fields()), errors.CodeAlreadyUsed())
            case StepDecision.TOO_EARLY:
                return self._defer(verdict)
            case StepDecision.ACCEPTED:
                assert verdict.step is not None
                return self._accept(verdict.step, state.now)

    def _defer(self, verdict: StepVerdict) -> Deferral:
        detail = "The store was restarted, and this code may have been used. Wait for another one."
        return Deferral(
            errors.RateLimited(
                EPOCH_LIMIT,
                retry_after=verdict.retry_after,
                quota=1,
                period_seconds=self._authenticator.period,
                detail=detail,
            )
        )

    def _accept(self, step: int, now: int) -> Acceptance:
        answer = AuthenticatorAnswer(self._build_token(step, now), now)
        return Acceptance(
            record=msgspec.msgpack.encode(LastStep(step)),
            expires_at=now + STATE_TTL_MS,
            events=(self._build_accepted_event(is_repeat=False),),
            answer=msgspec.msgpack.encode(answer),
        )

    def build_repeat_event(self, answer: bytes) -> events.Event:  # noqa: ARG002  # a FactorCheck
        return self._build_accepted_event(is_repeat=True)

    def _check_status(self) -> None:
        self._authenticator.check_unconfirmed()

    def _build_token(self, step: int, now: int) -> str:
        return self._authenticator.confirm(step, now).seal(self._cipher)

    def _build_accepted_event(self, *, is_repeat: bool) -> events.Event:
        fields = self.context.build_event_fields()
        return events.AuthenticatorConfirmed(**fields, repeated=is_repeat)


class LoginCheck(ConfirmationCheck):
    """Whether a code is that of a new time step: the `FactorCheck` of a verify."""

    is_login = True

    def _check_status(self) -> None:
        self._authenticator.check_active()

    def _build_token(self, step: int, now: int) -> str:  # noqa: ARG002  # the step is in Redis
        """Return the token as it was sent, or sealed under the key in force."""
        if self._opened.key_id == self._cipher.current_key_id:
            return self._opened.token
        return self._authenticator.seal(self._cipher)

    def _build_accepted_event(self, *, is_repeat: bool) -> events.Event:
        fields = self.context.build_event_fields()
        return events.AuthenticatorVerified(**fields, repeated=is_repeat)
