"""After a send: store what the providers answered, and correct the bill."""

import asyncio

import msgspec

from otp_service.core import charges, delivery, events
from otp_service.core.challenge import ChallengeStatus
from otp_service.core.delivery import Submission, find_recipient_fault_reason
from otp_service.core.errors import (
    ChallengeNotFound,
    DeliveryFailed,
    RateLimited,
    StoreUnavailable,
    Undeliverable,
)
from otp_service.core.limits import Charge
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.ports import ChallengeSnapshot, Commit, CompareAndSwap, Refund
from otp_service.service.context import CallContext
from otp_service.service.optimistic_commit import commit_with_retry, require_challenge
from otp_service.service.shared_limits import SharedLimits, SpentCharge


class SendCharges(msgspec.Struct, frozen=True, kw_only=True):
    """What one send has been charged, to be given back or added to."""

    number_charges: tuple[Charge, ...]
    operation_id: str
    shared_charges: tuple[SpentCharge, ...]


class SendRecorder:
    """The end of one send."""

    def __init__(
        self, context: CallContext, phone: PhoneNumber, shared_limits: SharedLimits
    ) -> None:
        self._context = context
        self._phone = phone
        self._store = context.dependencies.store
        self._shared_limits = shared_limits

    async def record(
        self,
        snapshot: ChallengeSnapshot,
        send_charges: SendCharges,
        submissions: tuple[Submission, ...],
        *,
        is_first_send: bool,
    ) -> ChallengeSnapshot:
        """Return the challenge with what became of it.

        Raises Undeliverable and DeliveryFailed; what the first one was charged stays charged.
        """
        challenge, billed = require_challenge(snapshot), delivery.count_billable(submissions)
        why = find_recipient_fault_reason(submissions)
        result = SendResult(
            submissions,
            challenge.sends,
            may_have_been_sent=billed > 0,
            is_first_send=is_first_send,
            recipient_fault_reason=why,
        )
        if billed == 1:
            return await self._store_result(snapshot, result)
        if billed:
            own = charges.build_extra_message_charges(send_charges.number_charges, billed - 1)
            others = charges.build_extra_message_charges(
                tuple(s.charge for s in send_charges.shared_charges), billed - 1
            )
            noted, _ = await asyncio.gather(
                self._store_result(snapshot, result, extra_charges=own),
                self._shared_limits.spend(others),
            )
            return noted
        if why is not None:
            await self._store_result(snapshot, result)
            raise Undeliverable(why)
        await self._refund(snapshot, result, send_charges)
        raise DeliveryFailed(challenge.id)

    async def _refund(
        self, snapshot: ChallengeSnapshot, result: "SendResult", send_charges: SendCharges
    ) -> None:
        """Give back what a send cost that nobody took, as often as that is allowed."""
        back = tuple(
            Refund(c, send_charges.operation_id)
            for c in charges.select_refundable_charges(send_charges.number_charges)
        )
        price = (charges.build_refund_charge(self._context.caller.tenant, self._phone),)
        try:
            await self._store_result(snapshot, result, extra_charges=price, refunds=back)
        except RateLimited:
            await self._store_result(snapshot, result)
        else:
            await self._shared_limits.refund(send_charges.shared_charges)

    async def _store_result(
        self,
        snapshot: ChallengeSnapshot,
        result: "SendResult",
        *,
        extra_charges: tuple[Charge, ...] = (),
        refunds: tuple[Refund, ...] = (),
    ) -> ChallengeSnapshot:
        """Write the result into the challenge, whoever moved meanwhile."""

        def build_result_commit(current: ChallengeSnapshot) -> Commit:
            swap, dropped = result.apply_to(current, self._context.dependencies.policy.live_codes)
            told = self._build_events(result, swap, dropped)
            return self._context.build_commit(
                swap=swap, charges=extra_charges, refunds=refunds, events=told
            )

        try:
            result_commit = await commit_with_retry(self._store, snapshot, build_result_commit)
        except ChallengeNotFound as error:  # Redis has lost it since the message went out
            raise StoreUnavailable from error
        return result_commit.to_snapshot()

    def _build_events(
        self, result: "SendResult", swap: CompareAndSwap, superseded_sends: tuple[int, ...]
    ) -> tuple[events.Event, ...]:
        told = [self._build_submission_event(submission) for submission in result.submissions]
        told += [
            events.Superseded(**self._context.build_event_fields(), send=send)
            for send in superseded_sends
        ]
        if swap.old and swap.old.stored_status != swap.new.stored_status:
            told.append(
                events.Canceled(
                    **self._context.build_event_fields(
                        reason=result.recipient_fault_reason or "delivery_failed"
                    )
                )
            )
        return tuple(told)

    def _build_submission_event(self, submission: Submission) -> events.Event:
        """Return the event of one submission; `unknown` may have been sent, and says so."""
        about = self._context.build_event_fields(
            reason=submission.reason,
            provider=submission.provider,
            milliseconds=submission.milliseconds,
        )
        if submission.may_be_billed:
            outcome = "success" if submission.outcome == "accepted" else "unknown"
            return events.Sent(**about, outcome=outcome)
        return events.ProviderFailed(
            **about, fault=submission.fault or "", about=submission.scope or ""
        )


class SendResult(msgspec.Struct, frozen=True):
    """What the providers made of one send."""

    submissions: tuple[Submission, ...]
    send: int
    may_have_been_sent: bool
    is_first_send: bool
    """Whether it is the send of a new challenge, which makes no sense without it."""
    recipient_fault_reason: str | None
    """The reason, if the number itself was refused."""

    def apply_to(
        self, snapshot: ChallengeSnapshot, max_live_codes: int
    ) -> tuple[CompareAndSwap, tuple[int, ...]]:
        """Return the change to the challenge, and the sends whose codes it drives out."""
        challenge, secret = require_challenge(snapshot), snapshot.secret
        new = challenge.add_submissions(self.submissions)
        if self.is_first_send:
            if self.may_have_been_sent:
                return CompareAndSwap(challenge, new), ()
            pending = challenge.compute_status(snapshot.now) is ChallengeStatus.PENDING
            return CompareAndSwap(challenge, new.cancel(snapshot.now) if pending else new, None), ()
        if not self.may_have_been_sent and self.recipient_fault_reason is None:
            new = new.refund_send()
        if secret is None:
            return CompareAndSwap(challenge, new), ()
        settled = secret.confirm_send(
            self.send,
            may_have_been_sent=self.may_have_been_sent,
            now=snapshot.now,
            max_live_codes=max_live_codes,
        )
        kept = {code.send for code in settled.codes} | {self.send}
        dropped = tuple(code.send for code in secret.codes if code.send not in kept)
        return CompareAndSwap(challenge, new, settled), dropped
