"""The charges of a send: applied before anything is stored, refunded if the call is refused."""

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from otp_service.core import charges, errors, events
from otp_service.core.commit import ChallengeSnapshot, Commit, Committed, Refund
from otp_service.core.do_not_send import Recipient, unmark_submitting
from otp_service.core.known_addresses import Account
from otp_service.core.limits import Charge
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.risk import RiskAssessment
from otp_service.service.context import CallContext, Dependencies, build_risk_fields
from otp_service.service.optimistic_commit import (
    commit_once,
    commit_with_retry,
    require_committed,
)
from otp_service.service.pending_refunds import apply_all
from otp_service.service.shared_limits import SharedLimits


class SendCharges(msgspec.Struct, frozen=True):
    """The charges of one send. They are named before they are applied, so some may not be."""

    number_charges: tuple[Charge, ...]
    operation_id: str
    """Of the commit of the charges to the number."""
    caller_refunds: tuple[Refund, ...]
    shared_refunds: tuple[Refund, ...]

    @property
    def number_refunds(self) -> tuple[Refund, ...]:
        """The reversal of every charge to the number, the cooldown included."""
        charged = (charge for charge in self.number_charges if charge.cost)
        return tuple(Refund(charge, self.operation_id) for charge in charged)

    @property
    def other_refunds(self) -> tuple[Refund, ...]:
        """The reversal of the charges in other partitions."""
        return (*self.caller_refunds, *self.shared_refunds)


class SendCharger:
    """Charges one send of a challenge or a delivery to its caller, its number, and what all share."""

    def __init__(
        self, dependencies: Dependencies, context: CallContext, phone: PhoneNumber
    ) -> None:
        self._store = dependencies.store
        self._random = dependencies.random
        self._refunds = dependencies.refunds
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

    def plan(self, *, is_auto_resend: bool = False) -> SendCharges:
        """Return the charges of a send, each with the operation id that it will have."""
        tenant, phone, subject = self._tenant, self._phone, self._context.subject
        number_charges = charges.build_number_send_charges(tenant, phone)
        if is_auto_resend:
            auto_resend = charges.build_auto_resend_charge(tenant, phone)
            number_charges = (*number_charges, auto_resend)
        account, client_ip_key = subject.account, subject.client_ip_key
        return SendCharges(
            number_charges,
            self._random.generate_operation_id(),
            self._shared_limits.name_charges(
                charges.build_caller_send_charges(tenant, phone, account, client_ip_key)
            ),
            self._shared_limits.name_charges(charges.build_shared_send_charges(tenant, phone)),
        )

    def build_commits(
        self, planned: SendCharges, known_addresses_of: Account | None = None
    ) -> tuple[Commit, Commit, Commit]:
        """Return the commits of the charges in turn: to the caller, the number, and what all share."""
        return (
            self._shared_limits.build_charge_commit(planned.caller_refunds, known_addresses_of),
            self._build_number_commit(planned),
            self._shared_limits.build_charge_commit(planned.shared_refunds),
        )

    async def apply(
        self, planned: SendCharges, known_addresses_of: Account | None = None
    ) -> list[Committed]:
        """Apply the commits of the charges in turn.

        The first one returns the known addresses of the account. Raises the error of the one that
        refuses: what was charged before it is refunded, and the refusal is recorded.
        """
        commits = self.build_commits(planned, known_addresses_of)
        outcomes = await self._store.commit_in_turn(commits)
        try:
            return [require_committed(outcome) for outcome in outcomes]
        except errors.StoreUnavailable:
            raise
        except errors.OtpError as error:
            match len(outcomes):
                case 1:
                    await self._record_caller_refusal(error)
                case 2:
                    await self._shared_limits.refund_refused(planned.caller_refunds)
                case _:
                    applied = msgspec.structs.replace(planned, shared_refunds=())
                    await self.deny(applied, error)
            raise

    async def deny(
        self, send_charges: SendCharges, error: errors.OtpError, risk: RiskAssessment | None = None
    ) -> None:
        """Refund every charge, and record the refusal."""
        fields = self._context.build_refusal_fields(error) | build_risk_fields(risk)
        denied = self._build_denied(**fields)
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
            foldable_event=denied,
            durable=durable,
        )
        await apply_all(
            self._store.commit(refund),
            self._shared_limits.refund(send_charges.other_refunds, durable=durable),
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
            return msgspec.structs.replace(
                build_withdrawal(current),
                submission_marks=(unmark_submitting(self._phone.canonical, current.now),),
                refunds=send_charges.number_refunds,
                durable=True,
            )

        await apply_all(
            commit_with_retry(self._store, snapshot, build_commit),
            self._shared_limits.refund(send_charges.other_refunds, durable=True),
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
            event_if_refused=self._build_denied(**self._context.build_event_fields()),
            requires_log_capacity=True,
        )

    def _build_denied(self, **fields: Any) -> events.SendDenied:
        """Return the event of a refusal, which names the scopes that can refuse."""
        return self._denied_type(**fields, **self._range_fields)
