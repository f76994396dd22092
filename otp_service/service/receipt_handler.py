"""Receipts: a provider's later reports about a submission. They verify, extend and unlock nothing.

A receipt that can only be the provider's may start one more send: if the message failed for good
and the number is not the reason, a new code is sent through another provider. A delivery is never
sent again: its code is not stored.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec

from otp_service.core import events
from otp_service.core.challenge import Challenge
from otp_service.core.commit import ChallengeSnapshot, Commit, CompareAndSwap
from otp_service.core.delivery import Receipt, SubmissionReference
from otp_service.core.errors import ChallengeNotFound, OtpError, RateLimited
from otp_service.core.limits import Limit
from otp_service.service.code_sender import CodeSender
from otp_service.service.context import CallContext, Caller, ChallengeRef, Dependencies, Subject
from otp_service.service.optimistic_commit import commit_with_retry


class ReceiptResult(msgspec.Struct, frozen=True):
    is_known: bool
    """Whether it is about a submission of this installation."""
    auto_resend_reference: SubmissionReference | None = None
    """The failed submission, if a code may be sent again."""


class ReceiptHandler:
    """Handles the receipts of one provider for one caller."""

    def __init__(self, dependencies: Dependencies, caller: Caller, provider: str) -> None:
        self._dependencies = dependencies
        self._store = dependencies.store
        self._caller = caller
        self._provider = provider

    async def handle_receipt(
        self, reference: SubmissionReference, receipt: Receipt, *, trusted: bool
    ) -> ReceiptResult:
        """Store the reported status; if trusted, report it to the router as well."""
        snapshot = await self._store.fetch_challenge(reference.tenant, reference.challenge_id)
        challenge = snapshot.challenge
        index = _find_submission_index(challenge, reference, self._provider) if challenge else None
        if challenge is None or index is None:
            return ReceiptResult(is_known=False)
        context = CallContext(self._dependencies, self._caller, Subject(), challenge)

        def build_receipt_commit(current: ChallengeSnapshot) -> Commit:
            old = current.require_challenge()
            new = old.apply_receipt(index, receipt)
            if new is old:
                return context.build_commit()
            send = new.submissions[index].send
            updated = self._build_delivery_event(context, receipt, send, trusted=trusted)
            return context.build_commit(swap=CompareAndSwap(old, new), events=(updated,))

        try:
            result = await commit_with_retry(self._store, snapshot, build_receipt_commit)
        except ChallengeNotFound:
            return ReceiptResult(is_known=False)
        if not (result.commit.swap and trusted):
            return ReceiptResult(is_known=True)
        self._dependencies.router.record_receipt(
            challenge.submissions[index], receipt, challenge.country, challenge.number_pseudonym
        )
        if self._can_auto_resend(result.to_snapshot(), reference.send):
            return ReceiptResult(is_known=True, auto_resend_reference=reference)
        return ReceiptResult(is_known=True)

    async def auto_resend(
        self, reference: SubmissionReference, sleep: Callable[[float], Awaitable[None]]
    ) -> bool:
        """Send another code if every limit allows it; return whether it was sent.

        During the cooldown of the number it sleeps once, for `retry_after` seconds.
        """
        with suppress(OtpError):
            try:
                return await self._resend_code(reference)
            except RateLimited as error:
                if error.limit == Limit.COOLDOWN:
                    await sleep(error.retry_after)
                    return await self._resend_code(reference)
        return False

    async def _resend_code(self, reference: SubmissionReference) -> bool:
        snapshot = await self._store.fetch_challenge(reference.tenant, reference.challenge_id)
        challenge, secret = snapshot.challenge, snapshot.secret
        if challenge is None or not self._can_auto_resend(snapshot, reference.send):
            return False
        assert secret  # a pending challenge has one
        subject = Subject.from_challenge(challenge, secret, secret.client_ip)
        assert subject.phone
        challenge_ref = ChallengeRef(challenge.id, challenge.purpose)
        caller = self._caller.select_limits(subject.phone)
        context = CallContext(self._dependencies, caller, subject, challenge_ref)
        sender = CodeSender(self._dependencies, context, subject.phone)
        await sender.resend(secret, failed_send=reference.send)
        return True

    def _can_auto_resend(self, snapshot: ChallengeSnapshot, send: int) -> bool:
        attempts, challenge = self._dependencies.policy.attempts, snapshot.challenge
        return challenge is not None and challenge.can_auto_resend(send, attempts, snapshot.now)

    def _build_delivery_event(
        self, context: CallContext, receipt: Receipt, send: int, *, trusted: bool
    ) -> events.MessageReported:
        outcome = "failure" if receipt.status.endswith("failure") else "success"
        return context.send_events.reported(
            **context.build_event_fields(reason=receipt.reason, outcome=outcome),
            provider=self._provider,
            status=receipt.status,
            send=send,
            trusted=trusted,
        )


def _find_submission_index(
    challenge: Challenge, reference: SubmissionReference, provider: str
) -> int | None:
    key = (reference.send, reference.ordinal, provider)
    keys = [(one.send, one.ordinal, one.provider) for one in challenge.submissions]
    return keys.index(key) if key in keys else None
