"""The check of a send by the operator's risk service, if there is one (R31).

It comes after the charges, so that the limits bound how often the service is asked at once, and before a
code is drawn or hashed. It is asked for every send: of an issue, a resend, an auto-resend and a delivery.
"""

from otp_service.core.errors import NumberNotAllowed
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.risk import RISK_REASON, RiskAssessment, RiskCall, RiskQuery
from otp_service.service.context import CallContext, Dependencies
from otp_service.service.send_charger import SendCharger, SendCharges


class RiskCheck:
    def __init__(
        self, dependencies: Dependencies, context: CallContext, phone: PhoneNumber
    ) -> None:
        self._risk_service = dependencies.risk_service
        self._context = context
        self._phone = phone
        self._charger = SendCharger(dependencies, context, phone)

    async def check(self, call: RiskCall, charged: SendCharges) -> RiskAssessment | None:
        """Return what the service answered about a send; None if it is not asked.

        Raises NumberNotAllowed if nothing may be sent: the charges are refunded, and that is recorded.
        """
        if self._risk_service is None or not self._context.caller.tenant.has_risk_check:
            return None
        assessment = await self._risk_service.assess(self._build_query(call))
        if not assessment.is_refusal:
            return assessment
        error = NumberNotAllowed(RISK_REASON)
        await self._charger.deny(charged, error, assessment)
        raise error

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
