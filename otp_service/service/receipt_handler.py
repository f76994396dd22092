"""Receipts: what a provider tells later of a submission. They verify, extend and unlock nothing.

One thing may follow from a receipt that nobody else can have brought: a message that failed for
good, and not for the number's sake, is sent once more, through somebody else and with a new code.
"""

from collections.abc import Awaitable, Callable

import msgspec

from otp_service.core import events
from otp_service.core.challenge import Challenge, parse_partition
from otp_service.core.delivery import Receipt, SubmissionReference
from otp_service.core.errors import ChallengeNotFound, OtpError, RateLimited
from otp_service.core.limits import Limit
from otp_service.core.phone_number import restore_number
from otp_service.core.ports import ChallengeSnapshot, Commit, CompareAndSwap
from otp_service.service.code_sender import CodeSender
from otp_service.service.context import CallContext, Caller, Dependencies, Subject
from otp_service.service.optimistic_commit import commit_with_retry, require_challenge


class ReceiptResult(msgspec.Struct, frozen=True):
    """What became of a receipt."""

    is_known: bool
    """Whether it is about something that there is here."""
    auto_resend_reference: SubmissionReference | None = None
    """What may be sent once more."""


class ReceiptHandler:
    """One receipt about one submission."""

    def __init__(self, dependencies: Dependencies, caller: Caller, provider: str) -> None:
        self._dependencies = dependencies
        self._caller = caller
        self._provider = provider

    async def handle_receipt(
        self, reference: SubmissionReference, receipt: Receipt, *, trusted: bool
    ) -> ReceiptResult:
        """Note the news."""
        stored = await self._dependencies.store.fetch_challenge(
            reference.tenant, reference.challenge_id
        )
        challenge = stored.challenge
        place = _find_submission_index(challenge, reference, self._provider) if challenge else None
        if challenge is None or place is None:
            return ReceiptResult(is_known=False)
        partition = parse_partition(challenge.id)
        assert partition is not None  # the reference has been read
        desk = CallContext(
            self._dependencies, self._caller, Subject(), partition, existing=challenge
        )

        def build_receipt_commit(current: ChallengeSnapshot) -> Commit:
            old = require_challenge(current)
            new = old.apply_receipt(place, receipt)
            if new is old:
                return desk.build_commit()
            return desk.build_commit(
                swap=CompareAndSwap(old, new),
                events=(self._build_delivery_event(desk, receipt, new, place, trusted=trusted),),
            )

        try:
            made = await commit_with_retry(self._dependencies.store, stored, build_receipt_commit)
        except ChallengeNotFound:
            return ReceiptResult(is_known=False)
        if not (made.commit.swap and trusted):
            return ReceiptResult(is_known=True)
        submission, after = challenge.submissions[place], made.to_snapshot()
        self._dependencies.router.record_receipt(
            submission, receipt, challenge.country, challenge.number_pseudonym
        )
        rescue = self._can_auto_resend(after, reference.send)
        return ReceiptResult(is_known=True, auto_resend_reference=reference if rescue else None)

    async def auto_resend(
        self, reference: SubmissionReference, sleep: Callable[[float], Awaitable[None]]
    ) -> bool:
        """Send once more what has failed, if every limit allows it; False if that is not to be.

        While the number's cooldown lasts it waits, once, with `pause` (seconds).
        """
        try:
            return await self._resend_code(reference)
        except RateLimited as error:
            if error.limit != Limit.COOLDOWN:
                return False
            await sleep(error.retry_after)
        except OtpError:
            return False
        try:
            return await self._resend_code(reference)
        except OtpError:
            return False

    async def _resend_code(self, reference: SubmissionReference) -> bool:
        stored = await self._dependencies.store.fetch_challenge(
            reference.tenant, reference.challenge_id
        )
        challenge, secret = stored.challenge, stored.secret
        if not self._can_auto_resend(stored, reference.send):
            return False
        assert challenge  # or it could not be
        assert secret
        phone = restore_number(secret.number, challenge.country)
        person = Subject.from_request(phone, challenge.account, secret.client_ip)
        sending = CodeSender(
            self._dependencies,
            self._caller,
            person,
            challenge.purpose,
            challenge.id,
            reference.send,
        )
        await sending.resend(secret)
        return True

    def _can_auto_resend(self, snapshot: ChallengeSnapshot, send: int) -> bool:
        attempts, challenge = self._dependencies.policy.attempts, snapshot.challenge
        return challenge is not None and challenge.can_auto_resend(send, attempts, snapshot.now)

    def _build_delivery_event(
        self,
        context: CallContext,
        receipt: Receipt,
        challenge: Challenge,
        index: int,
        *,
        trusted: bool,
    ) -> events.DeliveryUpdated:
        failed = receipt.status.endswith("failure")
        return events.DeliveryUpdated(
            **context.build_event_fields(
                reason=receipt.reason, outcome="failure" if failed else "success"
            ),
            provider=self._provider,
            status=receipt.status,
            send=challenge.submissions[index].send,
            trusted=trusted,
        )


def _find_submission_index(
    challenge: Challenge, reference: SubmissionReference, provider: str
) -> int | None:
    """Return where the submission stands, if it was made through this provider."""
    for place, one in enumerate(challenge.submissions):
        if (one.send, one.ordinal, one.provider) == (reference.send, reference.ordinal, provider):
            return place
    return None
