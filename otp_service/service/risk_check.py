"""The check of a send by the operator's risk service, if there is one (R31).

It comes after the charges, so that the limits bound how often the service is asked at once, and before a
code is drawn or hashed. It is asked for every send: of an issue, a resend, an auto-resend and a delivery.
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
    """More than before, if the service has ended the exemption of a known number."""
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

    async def check(self, call: RiskCall, charged: SendCharges) -> CheckedSend:
        """Return a send with what the service answered about it.

        A number that is unknown to the service is charged as one. Raises NumberNotAllowed if nothing
        may be sent, and DebtLimited if the charges of an unknown number do not fit: everything is
        refunded, and that is recorded.
        """
        if self._risk_service is None or not self._context.caller.tenant.has_risk_check:
            return CheckedSend(charged)
        assessment = await self._risk_service.assess(self._build_query(call))
        if assessment.is_refusal:
            error = NumberNotAllowed(RISK_REASON)
            await self._charger.deny(charged, error, assessment)
            raise error
        if assessment.answer is RiskAnswer.UNKNOWN_NUMBER:
            charged = await self._charger.end_exemption(charged, assessment)
        return CheckedSend(charged, assessment)

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
