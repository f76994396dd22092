"""Deliveries: the code of another product is sent once, and is neither stored nor verified here."""

from functools import partial

from otp_service.core.challenge import Challenge
from otp_service.core.commit import ChallengeSnapshot, Commit, CompareAndSwap
from otp_service.core.do_not_send import mark_submitting
from otp_service.core.errors import NumberNotAllowed, StoreUnavailable
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.timestamps import MINUTE_MS
from otp_service.schemas import DeliveryRequest
from otp_service.service.context import CallContext, Dependencies, build_risk_fields
from otp_service.service.message_sender import MessageSender
from otp_service.service.optimistic_commit import commit_once
from otp_service.service.risk_check import CheckedSend, RiskCheck
from otp_service.service.send_charger import SendCharger


class DeliverySender:
    """Sends the code of one delivery to one number.

    The code is an argument of `send` alone: it is in no record, so no receipt can send it again.
    """

    def __init__(
        self, dependencies: Dependencies, context: CallContext, phone: PhoneNumber
    ) -> None:
        self._dependencies = dependencies
        self._context = context
        self._phone = phone
        self._charger = SendCharger(dependencies, context, phone)
        self._risk_check = RiskCheck(dependencies, context, phone)
        self._message_sender = MessageSender(dependencies, context, phone)

    async def send(self, request: DeliveryRequest, locale: str | None) -> ChallengeSnapshot:
        """Store a new delivery and send its code. Raises the OtpError that refuses it."""
        deps, refunds = self._dependencies, self._dependencies.refunds
        with deps.send_slots.acquire(self._context.caller.tenant.name):
            planned = self._charger.plan(debts_apart=self._risk_check.is_asked)
            refund = partial(self._charger.refund, planned, durable=True)
            async with refunds.refund_if_unavailable(refund):
                applied = await self._charger.apply(planned)
                checked = await self._risk_check.check("deliver", applied.send_charges)
            charged = checked.send_charges
            delivery = self._build_delivery(applied.now, request.valid_minutes)
            build_withdrawal = partial(self._build_withdrawal, delivery)
            withdraw = partial(self._charger.withdraw, charged, build_withdrawal)
            async with refunds.refund_if_unavailable(withdraw):
                try:
                    stored = await commit_once(deps.store, self._build_commit(delivery, checked))
                except NumberNotAllowed as error:  # a STOP arrived since the charge
                    await self._charger.deny(charged, error)
                    raise
                snapshot = stored.to_snapshot()
            return await self._message_sender.send(
                snapshot, request.code, locale, charged, is_first_send=True
            )

    def _build_delivery(self, now: int, valid_minutes: int) -> Challenge:
        challenge, subject, phone = self._context.challenge, self._context.subject, self._phone
        assert challenge.id
        assert challenge.purpose
        pseudonym_key = self._dependencies.keys.pseudonym.current
        deadline = now + valid_minutes * MINUTE_MS
        return Challenge(
            tenant=self._context.caller.tenant.name,
            id=challenge.id,
            version=1,
            purpose=challenge.purpose,
            account=subject.account,
            masked_number=phone.masked,
            number_pseudonym=pseudonym_key.derive_pseudonym("number", phone.canonical),
            country=phone.country,
            created_at=now,
            deadline=deadline,
            ends_at=deadline,
            resend_at=deadline,
            attempts_left=0,
            sends_left=0,
        )

    def _build_commit(self, delivery: Challenge, checked: CheckedSend) -> Commit:
        risk_fields = build_risk_fields(checked.assessment)
        fields = {**risk_fields, **checked.send_charges.build_event_fields()}
        created = self._context.build_started_event(self._phone, delivery.deadline, fields)
        swap = CompareAndSwap(None, delivery)
        mark = mark_submitting(self._phone.canonical, delivery.created_at)
        return self._context.build_commit(
            swap=swap,
            recipient=self._charger.recipient,
            submission_marks=(mark,),
            events=(created,),
            durable=True,
        )

    def _build_withdrawal(self, delivery: Challenge, current: ChallengeSnapshot) -> Commit:
        """Return the commit that ends the delivery, if it is stored and was not sent.

        Under its id another call with the same Idempotency-Key may have stored one, after the lease
        of this call, and so at another time: that stays.
        """
        stored = current.challenge
        if stored is None or stored.created_at != delivery.created_at or stored.sends == 0:
            return self._context.build_commit()
        denied = self._context.send_events.denied(
            **self._context.build_event_fields(reason=StoreUnavailable.audit_reason)
        )
        swap = CompareAndSwap(stored, stored.withdraw_delivery(current.now))
        return self._context.build_commit(swap=swap, foldable_event=denied)
