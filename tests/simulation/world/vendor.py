"""SMS companies that accept, refuse, are silent, or take a message without saying so."""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from enum import StrEnum
from typing import Final

from otp_service.core.delivery import (
    Accepted,
    Fault,
    Message,
    Receipt,
    ReceiptStatus,
    RefusalScope,
    Refused,
    Reply,
    Submission,
    SubmissionReference,
)
from tests.simulation.recorder import Recorder
from tests.simulation.world.phones import Phones
from tests.simulation.world.ports import Chance


class Behavior(StrEnum):
    """What a vendor does with one message."""

    ACCEPT = "accept"
    SLOW = "slow"
    """It accepts, maybe after the deadline of the router."""
    REFUSE = "refuse"
    REFUSE_NUMBER = "refuse number"
    TAKE_SILENTLY = "take silently"
    """It takes the message, and no reply arrives."""
    TAKE_AND_BREAK = "take and break"
    """It takes the message, and the connection is lost before the reply."""
    LOSE = "lose"
    """Neither is the message taken, nor does a reply arrive."""


TROUBLES: Final = (
    Behavior.SLOW,
    Behavior.REFUSE,
    Behavior.REFUSE,
    Behavior.REFUSE_NUMBER,
    Behavior.TAKE_SILENTLY,
    Behavior.TAKE_AND_BREAK,
    Behavior.LOSE,
)
TAKING: Final = frozenset(
    {Behavior.ACCEPT, Behavior.SLOW, Behavior.TAKE_SILENTLY, Behavior.TAKE_AND_BREAK}
)
SILENT: Final = frozenset({Behavior.TAKE_SILENTLY, Behavior.LOSE})
FINAL_STATUSES: Final[tuple[ReceiptStatus, ...]] = (
    "delivered",
    "temporary-failure",
    "permanent-failure",
    "technical-failure",
)
RECEIPT_SHARE: Final = 0.5
"""Of the messages that are reported. Each receipt costs a run as much as a call."""

MAX_SILENCE_SECONDS: Final = 60.0
"""Longer than any deadline: a caller that waits for so long has none."""

ReportCallback = Callable[[str, Receipt], Awaitable[None]]
"""Brings a receipt to the service, from the vendor of this name."""


class Vendor:
    """One company, as every worker reaches it.

    `trouble` is the share of its messages with which something is wrong.
    """

    def __init__(
        self,
        name: str,
        chance: Chance,
        recorder: Recorder,
        phones: Phones,
        report: ReportCallback,
    ) -> None:
        self.name = name
        self.trouble = 0.0
        self.references: list[str] = []
        """Of every message it has taken, for receipts that are repeated or forged."""
        self._chance = chance
        self._recorder = recorder
        self._phones = phones
        self._report = report
        self._message_count = 0
        self._reports: set[asyncio.Task[None]] = set()
        self._context = copy_context()
        """In which it acts by itself: that of a call has a host, which may be paused, and the vendor is not."""

    @property
    def has_reports(self) -> bool:
        """Whether receipts are on their way."""
        return bool(self._reports)

    async def submit(self, message: Message, is_alive: Callable[[], bool]) -> Reply:
        """Return the reply to a message. `is_alive` is whether its sender still runs."""
        behavior = self._draw_behavior()
        index = self._record_submission(message, is_taken=behavior in TAKING)
        arrival = self._draw_seconds()
        if behavior in TAKING:
            loop = asyncio.get_running_loop()
            loop.call_later(arrival, self._take, message, context=self._context)
        try:
            reply = await self._answer(behavior, arrival)
        except asyncio.CancelledError:
            if is_alive():
                self._recorder.answer_submission(index, "unknown", "unknown")
            raise
        learned = Submission.from_reply(self.name, reply, at=0, milliseconds=0)
        self._recorder.answer_submission(index, learned.outcome, learned.fault)  # type: ignore[arg-type]  # a Fault is a text
        return reply

    def be_calm(self) -> None:
        """Accept every message from now on."""
        self.trouble = 0.0

    async def _answer(self, behavior: Behavior, arrival: float) -> Reply:
        if behavior in SILENT:
            await asyncio.sleep(MAX_SILENCE_SECONDS)
        back = self._draw_seconds()
        if behavior is Behavior.SLOW:
            back += 12 * self._chance.draw_fraction()
        await asyncio.sleep(arrival + back)
        match behavior:
            case Behavior.REFUSE:
                return Refused(Fault.PROVIDER, "busy", scope=RefusalScope.SILENCE)
            case Behavior.REFUSE_NUMBER:
                return Refused(Fault.RECIPIENT, "unknown-subscriber")
            case Behavior.TAKE_AND_BREAK:
                return Refused(Fault.UNKNOWN, "read-timeout", scope=RefusalScope.SILENCE)
            case _:
                self._message_count += 1
                return Accepted(f"{self.name}-{self._message_count}")

    def _draw_behavior(self) -> Behavior:
        if self.trouble and self._chance.has_luck(self.trouble):
            return self._chance.pick(TROUBLES)
        return Behavior.ACCEPT

    def _draw_seconds(self) -> float:
        return 0.02 + 0.2 * self._chance.draw_fraction()

    def _record_submission(self, message: Message, *, is_taken: bool) -> int:
        reference = SubmissionReference.parse(message.reference)
        assert reference, message.reference
        return self._recorder.record_submission(
            provider=self.name,
            tenant=reference.tenant,
            number=message.to.e164,
            code=message.code,
            challenge=reference.challenge_id,
            send=reference.send,
            ordinal=reference.ordinal,
            is_taken=is_taken,
        )

    def _take(self, message: Message) -> None:
        """Take a message: bring it to the phone, and report what became of it."""
        self.references.append(message.reference)
        status: ReceiptStatus = "delivered"
        if self.trouble and self._chance.has_luck(self.trouble / 2):
            status = self._chance.pick(FINAL_STATUSES)
        if status == "delivered":
            self._deliver(message)
        if not self._chance.has_luck(RECEIPT_SHARE):
            return
        task = asyncio.get_running_loop().create_task(self._send_reports(message, status))
        self._reports.add(task)
        task.add_done_callback(self._reports.discard)

    def _deliver(self, message: Message) -> None:
        seconds = 0.5 + 3 * self._chance.draw_fraction()
        if self.trouble and self._chance.has_luck(self.trouble / 2):
            seconds += self._chance.draw_ms(0, 400_000) / 1000
        copies = 2 if self.trouble and self._chance.has_luck(self.trouble / 4) else 1
        reference = SubmissionReference.parse(message.reference)
        assert reference
        received = (message.to.e164, message.code, reference.challenge_id)
        for copy in range(1, copies + 1):
            loop = asyncio.get_running_loop()
            loop.call_later(copy * seconds, self._phones.deliver, *received)

    async def _send_reports(self, message: Message, status: ReceiptStatus) -> None:
        """Report a status: maybe before the reply to the message, late, or several times."""
        statuses: list[ReceiptStatus] = [status]
        seconds = 6 * self._chance.draw_fraction() ** 2
        if self.trouble and self._chance.has_luck(self.trouble):
            statuses += [self._chance.pick(("pending", *FINAL_STATUSES)), status]
            seconds += self._chance.draw_ms(0, 60_000) / 1000
        for each in statuses:
            await asyncio.sleep(seconds)
            receipt = Receipt(each, message.reference, reason=None if each == "delivered" else "x1")
            await self._report(self.name, receipt)


class ProviderLink:
    """A vendor as one worker reaches it: implements `sms.router.SmsProvider`."""

    def __init__(self, vendor: Vendor, is_alive: Callable[[], bool]) -> None:
        self.name = vendor.name
        self._vendor = vendor
        self._is_alive = is_alive

    async def send(self, message: Message) -> Accepted | Refused:
        if not self._is_alive():
            raise asyncio.CancelledError  # a dead process sends nothing
        return await self._vendor.submit(message, self._is_alive)

    async def aclose(self) -> None:
        """Do nothing: a link holds nothing open."""
