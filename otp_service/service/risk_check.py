"""The check of a send by the operator's risk service, if there is one (R31).

It comes after the charges of limits, so that these bound how often the service is asked at once, and before a
code is drawn or hashed. It is asked for every send: of an issue, a resend, an auto-resend and a delivery.

The debts of the brake are charged after its answer. A client that it refuses would else take the room of
ranges and countries for as long as each question takes. A send that the brake would refuse needs no question.
"""

import msgspec

from otp_service.core.errors import NumberNotAllowed
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.risk import RISK_REASON, RiskAnswer, RiskAssessment, RiskCall, RiskQuery
from otp_service.service.context import CallContext, Dependencies
from otp_service.service.send_charger import SendCharger
from otp_service.service.send_charges import SendCharges


class CheckedSend(msgspec.Struct, frozen=True):
    """A send that the risk service has not refused."""

    send_charges: SendCharges
    """With its debts."""
    assessment: RiskAssessment | None = None
    """None if it was not asked."""


class RiskCheck:
    def __init__(
        self, dependencies: Dependencies, context: CallContext, phone: PhoneNumber
    ) -> None:
        self._risk_service = dependencies.risk_service
        self._context = context
        self._phone = phone
        self._charger = SendCharger(dependencies, context, phone)

    @property
    def is_asked(self) -> bool:
        """Whether the service is asked: the debts of the send are then to be planned apart."""
        return self._risk_service is not None and self._context.caller.tenant.has_risk_check

    async def check(self, call: RiskCall, charged: SendCharges) -> CheckedSend:
        """Return a send with what the service answered about it, and with its debts.

        A number that is unknown to the service is charged as one. Raises NumberNotAllowed if nothing
        may be sent, and DebtLimited if the debts do not fit: everything is refunded, and that is
        recorded.
        """
        if self._risk_service is None or not self.is_asked:
            return CheckedSend(charged)
        if await self._charger.may_be_over_debt(charged):
            charged = await self._charger.charge_debts(charged)  # it refuses, in all likelihood
            return CheckedSend(charged, await self._assess(call, charged))
        assessment = await self._assess(call, charged)
        if assessment.answer is RiskAnswer.UNKNOWN_NUMBER:
            charged = charged.end_exemption()
        return CheckedSend(await self._charger.charge_debts(charged, assessment), assessment)

    async def _assess(self, call: RiskCall, charged: SendCharges) -> RiskAssessment:
        """Return the answer. Raises NumberNotAllowed if it refuses, after everything was refunded."""
        assert self._risk_service
        assessment = await self._risk_service.assess(self._build_query(call))
        if assessment.is_refusal:
            error = NumberNotAllowed(RISK_REASON)
            await self._charger.deny(charged, error, assessment)
            raise error
        return assessment

    def _build_query(self, call: RiskCall) -> RiskQuery:
        caller, subject = self._context.caller, self._context.subject
        assert self._context.challenge.purpose
        return RiskQuery(
            call=call,
            phone=self._phone,
            purpose=self._context.challenge.purpose,
            tenant=caller.tenant.name,
            request_id=caller.request_id,
            account=subject.account,
            client_ip=subject.client_ip,
        )
