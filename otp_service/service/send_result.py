"""After a send: store what the providers replied, and correct the charges."""

import asyncio
from functools import partial

import msgspec

from otp_service.core import charges, events
from otp_service.core.challenge import Challenge, ChallengeStatus
from otp_service.core.commit import ChallengeSnapshot, Commit, CompareAndSwap, Refund
from otp_service.core.delivery import Fault, Submission
from otp_service.core.do_not_send import (
    SUBMISSION_MARK_TTL_MS,
    SubmissionMark,
    unmark_submitting,
)
from otp_service.core.errors import (
    DeliveryFailed,
    OtpError,
    RateLimited,
    ResultNotStored,
    StoreTampered,
    StoreUnavailable,
    Undeliverable,
)
from otp_service.core.limits import Charge
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.pumping.commits import SendDebt
from otp_service.service.context import CallContext, Dependencies
from otp_service.service.optimistic_commit import commit_with_retry
from otp_service.service.send_charger import select_unpaid
from otp_service.service.send_charges import SendCharges
from otp_service.service.shared_limits import SharedLimits


class SendResult(msgspec.Struct, frozen=True):
    """What the providers replied to one send."""

    submissions: tuple[Submission, ...]
    send: int
    is_first_send: bool
    """Whether a new challenge was created for this send; if it fails, the challenge is canceled."""

    @property
    def billable_count(self) -> int:
        """The messages that may have been sent, and so may be billed."""
        return sum(submission.may_be_billed for submission in self.submissions)

    def build_marks(self, phone: PhoneNumber, now: int) -> tuple[SubmissionMark, ...]:
        """Return a mark for each provider that may have sent something, in place of that of any."""
        providers = [one.provider for one in self.submissions if one.may_be_billed]
        expires_at = now + SUBMISSION_MARK_TTL_MS
        return (
            unmark_submitting(phone.canonical, now),
            *(
                SubmissionMark(provider, phone.canonical, expires_at)
                for provider in dict.fromkeys(providers)
            ),
        )

    @property
    def recipient_fault_reason(self) -> str | None:
        """The reason if a provider refused the number itself."""
        faults = (one.reason for one in self.submissions if one.fault is Fault.RECIPIENT)
        return next(faults, None)

    def find_error(self, challenge_id: str) -> OtpError | None:
        """Return the error of the call; None if a message may have been sent."""
        if self.billable_count > 0:
            return None
        if self.recipient_fault_reason is not None:
            return Undeliverable(self.recipient_fault_reason)
        return DeliveryFailed(challenge_id)

    def is_stored_in(self, challenge: Challenge) -> bool:
        return challenge.submissions[-len(self.submissions) :] == self.submissions

    def apply_to(
        self, snapshot: ChallengeSnapshot, max_live_codes: int, refunded_debt: SendDebt | None
    ) -> tuple[CompareAndSwap, tuple[int, ...]]:
        """Return the change of the challenge, and the sends whose codes it replaces.

        A debt that is refunded is not repaid by a verification. Raises StoreUnavailable if Redis has lost the challenge since the message was sent.
        """
        challenge, secret = snapshot.challenge, snapshot.secret
        if challenge is None:
            raise StoreUnavailable
        may_have_been_sent = self.billable_count > 0
        new = challenge.add_submissions(self.submissions)
        if self.is_first_send:
            if may_have_been_sent:
                return CompareAndSwap(challenge, new), ()
            is_pending = challenge.compute_status(snapshot.now) is ChallengeStatus.PENDING
            new = new.cancel(snapshot.now) if is_pending else new
            return CompareAndSwap(challenge, new, None), ()
        if not may_have_been_sent and self.recipient_fault_reason is None:
            new = new.refund_send()
        if secret is None:
            return CompareAndSwap(challenge, new), ()
        confirmed = secret.remove_debt(refunded_debt).confirm_send(
            self.send, snapshot.now, max_live_codes, may_have_been_sent=may_have_been_sent
        )
        kept_sends = {code.send for code in confirmed.codes} | {self.send}
        replaced = tuple(code.send for code in secret.codes if code.send not in kept_sends)
        return CompareAndSwap(challenge, new, confirmed), replaced


class SendRecorder:
    def __init__(
        self, dependencies: Dependencies, context: CallContext, phone: PhoneNumber
    ) -> None:
        self._store = dependencies.store
        self._context = context
        self._phone = phone
        self._shared_limits = SharedLimits(
            dependencies.store, dependencies.random, dependencies.refunds
        )
        self._refunds = dependencies.refunds
        self._max_live_codes = dependencies.policy.live_codes

    async def record(
        self, snapshot: ChallengeSnapshot, result: SendResult, send_charges: SendCharges
    ) -> ChallengeSnapshot:
        """Return the challenge with the result of the send.

        Raises Undeliverable, after which every charge stays, DeliveryFailed, and ResultNotStored. A
        StoreUnavailable that is not ResultNotStored means that nothing was sent.
        """
        error = result.find_error(snapshot.require_challenge().id)
        if isinstance(error, DeliveryFailed):
            refund = partial(self._refund, snapshot, result, send_charges)
            async with self._refunds.refund_if_unavailable(refund):
                await refund()
            raise error
        try:
            recorded = await self._record_sent(snapshot, result, send_charges)
        except StoreTampered:
            raise
        except StoreUnavailable as unavailable:
            raise ResultNotStored(cause=unavailable.cause, kind=unavailable.kind) from unavailable
        if error:
            raise error
        return recorded

    async def _record_sent(
        self, snapshot: ChallengeSnapshot, result: SendResult, send_charges: SendCharges
    ) -> ChallengeSnapshot:
        if result.billable_count > 1:
            return await self._charge_extra_messages(snapshot, result, send_charges)
        build_commit = partial(self._build_commit, result)
        return (await commit_with_retry(self._store, snapshot, build_commit)).to_snapshot()

    async def _charge_extra_messages(
        self, snapshot: ChallengeSnapshot, result: SendResult, send_charges: SendCharges
    ) -> ChallengeSnapshot:
        """Charge each message beyond the first that may have been sent."""
        extra = result.billable_count - 1
        number_charges = charges.build_extra_message_charges(send_charges.number_charges, extra)
        recorded, _ = await asyncio.gather(
            commit_with_retry(
                self._store,
                snapshot,
                partial(self._build_commit, result, extra_charges=number_charges),
            ),
            self._store.commit_all(self._build_extra_commits(extra, send_charges)),
        )
        return recorded.to_snapshot()

    def _build_extra_commits(self, extra: int, send_charges: SendCharges) -> list[Commit]:
        """Return the charges of more messages to the buckets in other partitions.

        They are no debts, because they have the same code: they cost of the budget of the day.
        """
        debts = send_charges.debts.plan.build_extra_commit(extra) if send_charges.debts else None
        limits = self._shared_limits
        return [
            limits.build_charge_commit(
                limits.name_charges(
                    charges.build_extra_message_charges(
                        tuple(refund.charge for refund in refunds), extra
                    )
                ),
                debts=extra_debts,
            )
            for refunds, extra_debts in (
                (send_charges.caller_refunds, None),
                (send_charges.shared_refunds, debts),
            )
        ]

    async def _refund(
        self, snapshot: ChallengeSnapshot, result: SendResult, send_charges: SendCharges
    ) -> None:
        """Refund a send that no provider accepted, as often as the limit on refunds allows.

        A second call, after the reply to the first was lost, changes nothing.
        """
        refund_charge = charges.build_refund_charge(self._context.caller.tenant, self._phone)
        build_commit = partial(self._build_commit, result)
        build_refund = partial(build_commit, extra_charges=(refund_charge,), refunded=send_charges)
        try:
            refunded = await commit_with_retry(self._store, snapshot, build_refund)
        except RateLimited:
            await commit_with_retry(self._store, snapshot, build_commit)
        else:
            assert refunded.previous_snapshot
            unpaid = select_unpaid(send_charges, refunded.previous_snapshot)
            await self._shared_limits.refund(send_charges.other_refunds, unpaid.shared_debt_refunds)

    def _build_commit(
        self,
        result: SendResult,
        current: ChallengeSnapshot,
        extra_charges: tuple[Charge, ...] = (),
        refunded: SendCharges | None = None,
    ) -> Commit:
        if current.challenge and result.is_stored_in(current.challenge):
            return self._context.build_commit()
        unpaid = refunded and select_unpaid(refunded, current)
        swap, replaced_sends = result.apply_to(
            current, self._max_live_codes, unpaid.debt if unpaid else None
        )
        recorded = self._build_events(result, swap, replaced_sends)
        return self._context.build_commit(
            swap=swap,
            submission_marks=result.build_marks(self._phone, current.now),
            charges=extra_charges,
            refunds=_build_refunds(refunded) if refunded else (),
            debt_refunds=unpaid.number_debt_refunds if unpaid else (),
            events=recorded,
        )

    def _build_events(
        self, result: SendResult, swap: CompareAndSwap, replaced_sends: tuple[int, ...]
    ) -> tuple[events.Event, ...]:
        fields = self._context.build_event_fields
        recorded = [self._build_submission_event(submission) for submission in result.submissions]
        recorded += [events.Superseded(**fields(), send=send) for send in replaced_sends]
        if swap.old and swap.old.stored_status != swap.new.stored_status:
            reason = result.recipient_fault_reason or "delivery_failed"
            recorded.append(events.Canceled(**fields(reason=reason)))
        return tuple(recorded)

    def _build_submission_event(self, submission: Submission) -> events.Event:
        """Return the event of one submission; the outcome `unknown` may have been sent."""
        fields = self._context.build_event_fields(
            reason=submission.reason,
            provider=submission.provider,
            milliseconds=submission.milliseconds,
        )
        if submission.may_be_billed:
            outcome = "success" if submission.outcome == "accepted" else "unknown"
            return self._context.send_events.taken(**fields, outcome=outcome)
        return self._context.send_events.refused(
            **fields, fault=submission.fault or "", about=submission.scope or ""
        )


def _build_refunds(send_charges: SendCharges) -> tuple[Refund, ...]:
    """Return the reversal of the charges to the number of a send that no provider took."""
    refundable = charges.select_refundable_charges(send_charges.number_charges)
    return tuple(Refund(charge, send_charges.operation_id) for charge in refundable)
