"""The charges of a send: applied before anything is stored, refunded if the call is refused."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import msgspec

from otp_service.core import charges, errors, events
from otp_service.core.challenge import ChallengeStatus
from otp_service.core.commit import ChallengeSnapshot, Commit, CommitOutcome, Committed, Undone
from otp_service.core.do_not_send import Recipient, unmark_submitting
from otp_service.core.known_addresses import Account, KnownAddresses
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.risk import RiskAssessment
from otp_service.service.brake import PlannedSend
from otp_service.service.context import CallContext, Dependencies, build_risk_fields
from otp_service.service.optimistic_commit import (
    commit_once,
    commit_with_retry,
    require_all_committed,
)
from otp_service.service.pending_refunds import apply_all
from otp_service.service.send_charges import NamedDebts, SendCharges
from otp_service.service.shared_limits import SharedLimits


class AppliedCharges(msgspec.Struct, frozen=True):
    """A send that is charged, at the instant `now` of the store."""

    now: int
    known_addresses: KnownAddresses
    """Those of the account that the call named."""
    send_charges: SendCharges


class SendCharger:
    """Charges one send of a challenge or a delivery to its caller, its number, and what all share.

    With each commit of limits it charges the debts of the same partition.
    """

    def __init__(
        self, dependencies: Dependencies, context: CallContext, phone: PhoneNumber
    ) -> None:
        self._store = dependencies.store
        self._random = dependencies.random
        self._refunds = dependencies.refunds
        self._brake = dependencies.brake
        self._context = context
        self._denied_type = context.send_events.denied
        self._range_fields = context.build_range_fields(phone)
        self._tenant = context.caller.tenant
        self.recipient = Recipient(phone.canonical, context.caller.tenant.name)
        """Whom the do-not-send list may refuse: at the charge, and again when the send is stored."""
        self._phone = phone
        self._shared_limits = SharedLimits(
            dependencies.store, dependencies.random, dependencies.refunds
        )

    def plan(self, *, is_auto_resend: bool = False, debts_apart: bool = False) -> SendCharges:
        """Return the charges of a send, each with the operation id that it will have.

        With `debts_apart` its debts are charged by `charge_debts`, and else by `apply` with the limits.
        """
        tenant, phone, subject = self._tenant, self._phone, self._context.subject
        number_charges = charges.build_number_send_charges(tenant, phone)
        if is_auto_resend:
            auto_resend = charges.build_auto_resend_charge(tenant, phone)
            number_charges = (*number_charges, auto_resend)
        account, client_ip_key = subject.account, subject.client_ip_key
        operation_id = self._random.generate_operation_id()
        caller_refunds = self._shared_limits.name_charges(
            charges.build_caller_send_charges(tenant, phone, account, client_ip_key)
        )
        shared_refunds = self._shared_limits.name_charges(
            charges.build_shared_send_charges(tenant, phone)
        )
        shared_id = shared_refunds[0].operation_id
        return SendCharges(
            number_charges,
            operation_id,
            self._store.limit_key_id,
            caller_refunds,
            shared_refunds,
            self._name_debts(operation_id, shared_id, are_apart=debts_apart),
        )

    def build_commits(
        self, planned: SendCharges, known_addresses_of: Account | None = None
    ) -> tuple[Commit, Commit, Commit]:
        """Return the commits of the charges: to the caller, to the number, and to what all share."""
        plan = planned.plan_of_limits
        return (
            self._shared_limits.build_charge_commit(planned.caller_refunds, known_addresses_of),
            self._build_number_commit(planned),
            self._shared_limits.build_charge_commit(
                planned.shared_refunds, debts=plan.shared if plan else None
            ),
        )

    async def apply(
        self, planned: SendCharges, known_addresses_of: Account | None = None
    ) -> AppliedCharges:
        """Apply the commits of the charges, or none of them.

        The first one returns the known addresses of the account. Raises the error of the one that
        refuses: whatever was charged is refunded, and the refusal is recorded.
        """
        commits = self.build_commits(planned, known_addresses_of)
        outcomes = await self._store.commit_together(commits)
        try:
            caller, number, shared = require_all_committed(outcomes)
        except errors.StoreUnavailable:
            raise
        except errors.OtpError as error:
            await self._handle_refusal(planned, outcomes, error)
            raise
        charged = planned.add_outcome(number, shared) if planned.plan_of_limits else planned
        return AppliedCharges(number.now, caller.known_addresses, charged)

    async def _handle_refusal(
        self,
        planned: SendCharges,
        outcomes: Sequence[CommitOutcome | Undone],
        error: errors.OtpError,
    ) -> None:
        """Refund what may have been charged, and record the refusal if its commit has not."""
        match [isinstance(one, Committed | Undone) for one in outcomes]:
            case [False, _, _]:
                await self._record_caller_refusal(error)
            case [_, False, _]:
                is_shared = isinstance(outcomes[2], Committed)
                undone = planned if is_shared else planned.without_shared()
                await self._refunds.apply(partial(self._refund_others, undone, durable=True))
            case _:
                await self.deny(planned.without_shared(), error)

    async def may_be_over_debt(self, charged: SendCharges) -> bool:
        """Return whether the brake would refuse the send now. Nothing is charged."""
        commits = self._build_debt_commits(charged)
        inspections = await self._store.inspect(commits) if commits else []
        is_exempt = any(one.is_exempt for one in inspections)
        return not is_exempt and any(one.refusal for one in inspections)

    async def charge_debts(
        self, charged: SendCharges, risk: RiskAssessment | None = None
    ) -> SendCharges:
        """Charge the debts of a send whose limits were charged without them, and return its charges.

        Raises the error of the scope that refuses: everything is refunded, and that is recorded.
        """
        commits = self._build_debt_commits(charged)
        if not commits:
            return charged
        outcomes = await self._store.commit_together(commits)
        try:
            committed = require_all_committed(outcomes)
        except errors.StoreUnavailable:
            raise
        except errors.OtpError as error:
            await self.deny(charged, error, risk)
            raise
        return charged.add_outcome(committed[0], committed[-1])

    async def deny(
        self, send_charges: SendCharges, error: errors.OtpError, risk: RiskAssessment | None = None
    ) -> None:
        """Refund every charge, and record the refusal."""
        fields = self._context.build_refusal_fields(error) | build_risk_fields(risk)
        denied = self._build_denied(**fields, price=send_charges.price)
        # Durable, as in `SharedLimits.refund_refused`; the refusal needs no replica.
        await self._refunds.apply(partial(self.refund, send_charges, denied, durable=True))

    async def refund(
        self,
        send_charges: SendCharges,
        denied: events.Event | None = None,
        *,
        durable: bool = False,
    ) -> None:
        """Refund every charge that was applied, in all partitions at once."""
        refund = self._context.build_commit(
            operation_id=f"undo-{send_charges.operation_id}",
            refunds=send_charges.number_refunds,
            debt_refunds=send_charges.number_debt_refunds,
            foldable_event=denied,
            durable=durable,
        )
        await apply_all(
            self._store.commit(refund), self._refund_others(send_charges, durable=durable)
        )

    async def _refund_others(self, send_charges: SendCharges, *, durable: bool) -> None:
        await self._shared_limits.refund(
            send_charges.other_refunds, send_charges.shared_debt_refunds, durable=durable
        )

    async def withdraw(
        self, send_charges: SendCharges, build_withdrawal: Callable[[ChallengeSnapshot], Commit]
    ) -> None:
        """Refund a send that may have been stored, and was not sent; withdraw what was stored.

        The store failed, or its replicas lacked it. The cooldown is refunded as well.
        """
        assert self._context.challenge.id
        snapshot = await self._store.fetch_challenge(self._tenant.name, self._context.challenge.id)

        def build_commit(current: ChallengeSnapshot) -> Commit:
            withdrawal = build_withdrawal(current)
            unpaid = select_unpaid(send_charges, current)
            if withdrawal.swap is not None:
                unpaid = unpaid.without_repaid_range()
            return msgspec.structs.replace(
                withdrawal,
                submission_marks=(unmark_submitting(self._phone.canonical, current.now),),
                refunds=send_charges.number_refunds,
                debt_refunds=unpaid.number_debt_refunds,
                durable=True,
            )

        await apply_all(
            commit_with_retry(self._store, snapshot, build_commit),
            self._refund_others(select_unpaid(send_charges, snapshot), durable=True),
        )

    async def _record_caller_refusal(self, error: errors.OtpError) -> None:
        """Record a refusal of the caller's own buckets in the partition of the number.

        Raises NumberLocked and NumberNotAllowed: they are checked before any limit.
        """
        commit = self._context.build_commit(
            recipient=self.recipient,
            charges=(charges.build_lock_check(self._tenant, self._phone),),
            event_if_refused=self._build_denied(**self._context.build_event_fields()),
            foldable_event=self._build_denied(**self._context.build_refusal_fields(error)),
        )
        await commit_once(self._store, commit)

    def _build_number_commit(self, planned: SendCharges) -> Commit:
        """Return the charges of a send to its number and prefix, in one commit."""
        return self._context.build_commit(
            operation_id=planned.operation_id,
            recipient=self.recipient,
            charges=planned.number_charges,
            debts=planned.plan_of_limits.number if planned.plan_of_limits else None,
            event_if_refused=self._build_denied(
                **self._context.build_event_fields(), price=planned.price
            ),
            requires_log_capacity=True,
        )

    def _build_denied(self, **fields: Any) -> events.SendDenied:
        """Return the event of a refusal, which names the scopes that can refuse."""
        return self._denied_type(**fields, **self._range_fields)

    def _build_debt_commits(self, charged: SendCharges) -> list[Commit]:
        """Return the commits of debts alone, to the number and to what all share."""
        named = charged.debts
        if named is None or not named.are_apart:
            return []
        assert named.shared_operation_id
        of_number = self._context.build_commit(
            operation_id=named.number_operation_id, debts=named.plan.number
        )
        shared = self._shared_limits.build_debt_commit(named.plan.shared, named.shared_operation_id)
        return [of_number, shared] if named.plan.number else [shared]

    def _name_debts(self, number_id: str, shared_id: str, *, are_apart: bool) -> NamedDebts | None:
        """Return the debts of a send, with the operation ids of these commits, or of their own."""
        subject = self._context.subject
        send = PlannedSend(
            tenant=self._tenant.name,
            phone=self._phone,
            client_address=subject.client_ip_key,
            is_delivery=self._context.send_events is events.DELIVERY_SEND_EVENTS,
            is_assumed_known=subject.is_assumed_known,
            has_passed_bot_check=subject.has_passed_bot_check,
        )
        plan = self._brake.plan_send(send)
        if plan is None:
            return None
        if are_apart:
            number_id, shared_id = (self._random.generate_operation_id() for _ in range(2))
        return NamedDebts(plan, number_id, shared_id, are_apart)


def select_unpaid(send_charges: SendCharges, current: ChallengeSnapshot) -> SendCharges:
    """Return the charges of a send that is not sent, without debts that a verification has repaid.

    The verification of an earlier code repays all sends of its challenge, and one that is still being
    sent as well.
    """
    challenge = current.challenge
    if challenge is None or challenge.compute_status(current.now) is not ChallengeStatus.VERIFIED:
        return send_charges
    return send_charges.without_repaid_debts()
