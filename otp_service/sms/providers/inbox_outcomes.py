"""Outcomes on demand: what the inbox does with the messages to twenty fictitious numbers.

A test of a login cannot ask a real provider to fail. So ten numbers of Britain and ten of America have an
outcome, by their last digit, and every other number is accepted and arrives at once. The outcome is what a
provider does; problems, refunds, events and automatic resends follow from it as in production.

    digit  first message of a challenge                 each later one
    0      accepted, reported as delivered              the same
    1      refused: the number does not exist           the same
    2      refused: the provider's own failure          the same
    3      refused: the provider throttles              the same
    4      no answer; the message arrives               the same
    5      accepted, and arrives, after five seconds    the same
    6      accepted, reported as undeliverable          the same
    7      accepted, reported as lost by the provider   accepted, reported as delivered
    8      accepted, and arrives after 35 seconds       accepted, and arrives at once
    9      accepted, and arrives at once                refused: the provider's own failure
"""

from typing import Final

import msgspec

from otp_service.core.delivery import Fault, ReceiptStatus, RefusalScope, Refused


RECEIPT_DELAY_SECONDS: Final = 2
"""After the reply, which must be stored first: a receipt of an unknown submission is dropped."""
SLOW_REPLY_SECONDS: Final = 5
"""Shorter than `routing.deadline_seconds` is by default."""
LATE_ARRIVAL_SECONDS: Final = 35
"""Longer than the cooldown is by default, so that a person could ask for another code before."""


class InboxOutcome(msgspec.Struct, frozen=True):
    """What happens to one message."""

    refusal: Refused | None = None
    """The reply; None if the message is accepted."""
    reply_seconds: int = 0
    """Until the reply."""
    arrives: bool = True
    """Whether the inbox lists the message."""
    arrival_seconds: int = 0
    """Until the inbox lists it."""
    receipt_status: ReceiptStatus | None = None
    """What a receipt reports RECEIPT_DELAY_SECONDS after the reply; None without a receipt."""
    receipt_reason: str | None = None


ORDINARY_OUTCOME: Final = InboxOutcome()

_DELIVERY_OUTCOME = InboxOutcome(receipt_status="delivered")
_UNKNOWN_NUMBER = InboxOutcome(Refused(Fault.RECIPIENT, "unknown-subscriber"), arrives=False)
_PROVIDER_FAILURE = InboxOutcome(Refused(Fault.PROVIDER, "unavailable"), arrives=False)
_THROTTLING_OUTCOME = InboxOutcome(
    Refused(Fault.PROVIDER, "throttled", scope=RefusalScope.THROTTLED), arrives=False
)
# Not RefusalScope.SILENCE: five of these would move the inbox to the end of the route.
_NO_ANSWER = InboxOutcome(Refused(Fault.UNKNOWN, "read-timeout"))
_SLOW_REPLY = InboxOutcome(reply_seconds=SLOW_REPLY_SECONDS, arrival_seconds=SLOW_REPLY_SECONDS)
_FAILED_DELIVERY = InboxOutcome(
    arrives=False, receipt_status="permanent-failure", receipt_reason="absent-subscriber"
)
_LOSS_OUTCOME = InboxOutcome(
    arrives=False, receipt_status="technical-failure", receipt_reason="network-failure"
)
_LATE_ARRIVAL = InboxOutcome(arrival_seconds=LATE_ARRIVAL_SECONDS)

NUMBER_BLOCKS: Final = ("+44770090099", "+1989555019")
"""The numbers with an outcome, without their last digit: +44 7700 900990 and +1 989 555 0190."""

OUTCOMES_BY_DIGIT: Final[dict[str, tuple[InboxOutcome, InboxOutcome]]] = {
    "0": (_DELIVERY_OUTCOME, _DELIVERY_OUTCOME),
    "1": (_UNKNOWN_NUMBER, _UNKNOWN_NUMBER),
    "2": (_PROVIDER_FAILURE, _PROVIDER_FAILURE),
    "3": (_THROTTLING_OUTCOME, _THROTTLING_OUTCOME),
    "4": (_NO_ANSWER, _NO_ANSWER),
    "5": (_SLOW_REPLY, _SLOW_REPLY),
    "6": (_FAILED_DELIVERY, _FAILED_DELIVERY),
    "7": (_LOSS_OUTCOME, _DELIVERY_OUTCOME),
    "8": (_LATE_ARRIVAL, ORDINARY_OUTCOME),
    "9": (ORDINARY_OUTCOME, _PROVIDER_FAILURE),
}
"""Of the first message of a challenge, and of each later one."""


def find_outcome(number: str, send: int) -> InboxOutcome:
    """Return the outcome of a message to a number in E.164; `send` counts those of its challenge, from 1."""
    if number[:-1] not in NUMBER_BLOCKS:
        return ORDINARY_OUTCOME
    first, later = OUTCOMES_BY_DIGIT[number[-1]]
    return first if send == 1 else later
