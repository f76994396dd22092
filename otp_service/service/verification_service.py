"""Verifications: challenges as Twilio's API knows them, found by their number or their `VE…`.

    start   pointer → the challenge, if it can continue → resend it; else issue a new one
    check   pointer or id → the challenge → verify

A start never ends a verification that is pending: it is a resend of the same challenge. What a call
costs, and which events it writes, is decided by the calls of `OtpService` that this uses.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal, Protocol

import msgspec

from otp_service.core import errors
from otp_service.core.challenge import Challenge, ChallengeStatus
from otp_service.core.commit import ChallengeSnapshot, Pointer, PointerName
from otp_service.core.phone_number import PhoneNumber, classify_number
from otp_service.core.timestamps import SECOND_MS
from otp_service.core.verify_service import (
    VerificationStart,
    VerifyService,
    can_continue,
    compute_restart_wait,
)
from otp_service.schemas import IssueRequest, VerifyRequest
from otp_service.service.context import CallContext, Caller, Dependencies, Subject
from otp_service.service.tampered_record import record_tampering


CODE_LENGTHS = range(4, 11)
"""Of the codes that a check compares at Twilio. One of them that cannot be ours is a wrong code."""


VerificationStatus = Literal[
    ChallengeStatus.PENDING, ChallengeStatus.VERIFIED, ChallengeStatus.CANCELED
]
"""What a call found or did: only a check is `verified`, and only a cancel `canceled`."""


class ChallengeCalls(Protocol):
    """The calls of OtpService that a verification consists of."""

    async def issue(
        self,
        caller: Caller,
        request: IssueRequest,
        idempotency_key: str | None,
        verification: VerificationStart | None = None,
    ) -> ChallengeSnapshot: ...

    async def resend(
        self, caller: Caller, challenge_id: str, idempotency_key: str | None
    ) -> ChallengeSnapshot: ...

    async def verify(
        self, caller: Caller, challenge_id: str, request: VerifyRequest, idempotency_key: str | None
    ) -> ChallengeSnapshot: ...

    async def get_challenge(self, caller: Caller, challenge_id: str) -> ChallengeSnapshot: ...

    async def cancel(self, caller: Caller, challenge_id: str) -> None: ...


class Verification(msgspec.Struct, frozen=True):
    """A verification for as long as its number is stored: until it has ended."""

    challenge: Challenge
    number: str
    status: VerificationStatus
    updated_at: int
    """Milliseconds since 1970, by Redis's clock."""

    def __repr__(self) -> str:
        return f"Verification({self.challenge.id})"  # the number must not be in a log


class VerificationDelayed(Exception):
    """The OtpError that is its cause, with the seconds after which a start sends a code again.

    Its attempts or sends are used up, or no provider took the message.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__()
        self.retry_after = retry_after


class VerificationService:
    """Start, check, fetch and cancel a verification.

    Every method raises the OtpError that refuses the call, and VerificationDelayed. A verification
    of another tenant or Verify Service, and one that has ended, is ChallengeNotFound.
    """

    def __init__(self, calls: ChallengeCalls, dependencies: Dependencies) -> None:
        self._calls = calls
        self._dependencies = dependencies

    async def start(
        self, caller: Caller, service: VerifyService, request: IssueRequest
    ) -> Verification:
        """Send a code: another one of the pending verification of this number, or a new one."""
        phone, _ = classify_number(request.phone_number)
        pointer = await self._read_pointer(caller, service, phone)
        if pointer.challenge_id is not None:
            # It may be deleted, or end before the resend.
            with suppress(errors.ChallengeNotFound):
                return await self._continue(caller, pointer.challenge_id, phone.e164)
        start = VerificationStart(service, pointer.version)
        with self._report_cooldown():
            issued = await self._calls.issue(caller, request, None, start)
        return _build_verification(issued, phone.e164)

    async def _continue(self, caller: Caller, challenge_id: str, number: str) -> Verification:
        """Send another code of a verification. Raises ChallengeNotFound if it cannot continue."""
        current = await self._calls.get_challenge(caller, challenge_id)
        if not can_continue(current.challenge, current.now):
            raise errors.ChallengeNotFound
        with self._report_cooldown(), _report_restart(current), _hide_ended():
            resent = await self._calls.resend(caller, challenge_id, None)
        return _build_verification(resent, current.secret.number if current.secret else number)

    async def check(
        self, caller: Caller, service: VerifyService, challenge_id: str, request: VerifyRequest
    ) -> Verification:
        """Compare a code with a verification; only one with a right code is `verified`, once.

        An invalid number is InvalidPhoneNumber, and not a wrong code.
        """
        if request.phone_number is not None:
            classify_number(request.phone_number)
        current = await self._fetch(caller, service, challenge_id)
        number = current.secret.number if current.secret else ""
        try:
            with _report_restart(current), _hide_ended():
                verified = await self._calls.verify(caller, challenge_id, request, None)
        except (errors.IncorrectCode, errors.MalformedCode) as error:
            if isinstance(error, errors.MalformedCode) and len(request.code) not in CODE_LENGTHS:
                raise
            return _build_verification(current, number, updated_at=current.now)
        return _build_verification(
            verified, number, ChallengeStatus.VERIFIED, updated_at=verified.now
        )

    async def find(self, caller: Caller, service: VerifyService, number: str) -> str:
        """Return the id of the newest verification of a number. Raises ChallengeNotFound."""
        phone, _ = classify_number(number)
        pointer = await self._read_pointer(caller, service, phone)
        if pointer.challenge_id is None:
            raise errors.ChallengeNotFound
        return pointer.challenge_id

    async def fetch(
        self, caller: Caller, service: VerifyService, challenge_id: str
    ) -> Verification:
        """Return a pending verification."""
        current, number = await self._fetch_pending(caller, service, challenge_id)
        return _build_verification(current, number)

    async def cancel(
        self, caller: Caller, service: VerifyService, challenge_id: str
    ) -> Verification:
        """End a pending verification, and return it as canceled."""
        current, number = await self._fetch_pending(caller, service, challenge_id)
        with _hide_ended():
            await self._calls.cancel(caller, challenge_id)
        return _build_verification(
            current, number, ChallengeStatus.CANCELED, updated_at=current.now
        )

    @contextmanager
    def _report_cooldown(self) -> Iterator[None]:
        """Raise VerificationDelayed after a failed delivery, which keeps its cooldown."""
        try:
            yield
        except errors.DeliveryFailed as error:
            raise VerificationDelayed(self._dependencies.policy.cooldown) from error

    async def _read_pointer(
        self, caller: Caller, service: VerifyService, phone: PhoneNumber
    ) -> Pointer:
        store = self._dependencies.store
        context = CallContext(self._dependencies, caller, Subject(phone))
        async with record_tampering(store, context):
            return await store.get_pointer(PointerName(caller.tenant.name, service.sid, phone))

    async def _fetch(
        self, caller: Caller, service: VerifyService, challenge_id: str
    ) -> ChallengeSnapshot:
        snapshot = await self._calls.get_challenge(caller, challenge_id)
        if snapshot.require_challenge().verify_service != service.sid:
            raise errors.ChallengeNotFound
        return snapshot

    async def _fetch_pending(
        self, caller: Caller, service: VerifyService, challenge_id: str
    ) -> tuple[ChallengeSnapshot, str]:
        """Return a pending verification and its number. Raises ChallengeNotFound if it has ended."""
        snapshot = await self._fetch(caller, service, challenge_id)
        status = snapshot.require_challenge().compute_status(snapshot.now)
        if snapshot.secret is None or status is not ChallengeStatus.PENDING:
            raise errors.ChallengeNotFound
        return snapshot, snapshot.secret.number


def _build_verification(
    snapshot: ChallengeSnapshot,
    number: str,
    status: VerificationStatus = ChallengeStatus.PENDING,
    *,
    updated_at: int | None = None,
) -> Verification:
    """Return the verification at `updated_at`, or at its newest send.

    The status is not that of the snapshot, which another call may have changed: a check that succeeds
    while a start sends would make the start `verified`, too.
    """
    challenge = snapshot.require_challenge()
    if updated_at is None:
        updated_at = max((challenge.created_at, *(one.at for one in challenge.submissions)))
    return Verification(challenge, number, status, updated_at)


@contextmanager
def _report_restart(current: ChallengeSnapshot) -> Iterator[None]:
    """Raise VerificationDelayed, with the wait for a new verification, for what only that ends."""
    try:
        yield
    except (errors.ChallengeLocked, errors.SendsExhausted) as error:
        wait_ms = compute_restart_wait(current.require_challenge(), current.now)
        raise VerificationDelayed(-(-wait_ms // SECOND_MS)) from error


@contextmanager
def _hide_ended() -> Iterator[None]:
    """Raise ChallengeNotFound for a verification that has ended otherwise than by its attempts."""
    try:
        yield
    except errors.ChallengeLocked:
        raise
    except errors.ChallengeEnded:
        raise errors.ChallengeNotFound from None
