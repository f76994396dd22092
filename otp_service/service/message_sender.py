"""Gives the message of a stored challenge or delivery to the providers, and stores their replies."""

import msgspec

from otp_service.core.commit import ChallengeSnapshot
from otp_service.core.delivery import Message, Submission
from otp_service.core.phone_number import PhoneNumber
from otp_service.core.timestamps import SECOND_MS
from otp_service.service.context import CallContext, Dependencies
from otp_service.service.send_charges import SendCharges
from otp_service.service.send_result import SendRecorder, SendResult


class MessageSender:
    def __init__(
        self, dependencies: Dependencies, context: CallContext, phone: PhoneNumber
    ) -> None:
        self._policy = dependencies.policy
        self._message_renderers = dependencies.message_renderers
        self._router = dependencies.router
        self._tenant = context.caller.tenant
        self._phone = phone
        self._recorder = SendRecorder(dependencies, context, phone)

    async def send(
        self,
        snapshot: ChallengeSnapshot,
        code: str,
        locale: str | None,
        send_charges: SendCharges,
        *,
        is_first_send: bool,
    ) -> ChallengeSnapshot:
        """Send the code; return the challenge with the result. Raises as `SendRecorder.record`."""
        sends = snapshot.require_challenge().sends
        submissions = await self._submit(snapshot, code, locale)
        result = SendResult(submissions, sends, is_first_send)
        return await self._recorder.record(snapshot, result, send_charges)

    async def _submit(
        self, snapshot: ChallengeSnapshot, code: str, locale: str | None
    ) -> tuple[Submission, ...]:
        """Return the submissions of the message; their instants are by Redis's clock."""
        challenge, now, tenant = snapshot.require_challenge(), snapshot.now, self._tenant
        minutes = self._policy.count_minutes_left(challenge.deadline, now)
        failed = (one.provider for one in challenge.submissions if one.may_be_billed)
        renderer = self._message_renderers[tenant.name]
        message = Message(
            to=self._phone,
            text=renderer.render(code, minutes, locale),
            code=code,
            minutes=minutes,
            brand=renderer.brand,
            reference=f"{tenant.name}.{challenge.id}.{challenge.sends}",
            validity_seconds=(challenge.deadline - now) // SECOND_MS,
            sender=tenant.sender,
            tenant=tenant.name,
            failed_providers=tuple(failed),
        )
        return tuple(
            msgspec.structs.replace(submission, at=now + submission.at, send=challenge.sends)
            for submission in await self._router.send(message)
        )
