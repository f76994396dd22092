"""Whether a provider is believed that calls numbers unreachable.

A recipient's fault ends a send: every provider would refuse the number. A provider that says it of
every number is wrong, whatever its code means: an invalid sender, a region without SMS, an account
in a test mode. With one accepted message in between, some numbers are just bad.

    numbers refused in a row, none accepted    the next such refusal
    0 to 3                                     is believed: stop
    4, and this is a fifth number              is the account's fault: ask the next provider

If the next provider calls the number unreachable too, both are believed. Only if it accepts the
message, the refusal counts as a failure of the first one, as any other refusal.

Fraud blocks and opt-outs are not counted and always believed (`RefusalScope.BLOCKED`): another
provider would evade them, and an attacker could make any number of them.
"""

from typing import Final

import msgspec

from otp_service.core.delivery import Fault, RefusalScope, Refused, Reply
from otp_service.core.timestamps import DAY_MS


DISBELIEF_NUMBERS: Final = 5
"""So many different numbers in a row, and none accepted, are the provider's fault."""
DISBELIEF_WINDOW_MS: Final = DAY_MS
"""A run without a refusal for this long is over."""


class UnreachableRun(msgspec.Struct, frozen=True):
    """The numbers that one provider called unreachable in one country, since it accepted one."""

    number_pseudonyms: tuple[str, ...] = ()
    """Different ones, oldest first; at most DISBELIEF_NUMBERS."""
    at: int = 0
    """The last refusal, in milliseconds since 1970."""

    def add_number(self, number_pseudonym: str, now: int) -> "UnreachableRun":
        """Return the run after one more refusal."""
        numbers = self._get_numbers(now)
        if number_pseudonym not in numbers:
            numbers = (*numbers, number_pseudonym)[-DISBELIEF_NUMBERS:]
        return UnreachableRun(numbers, now)

    def is_believed(self, number_pseudonym: str, now: int) -> bool:
        """Whether a refusal of this number is believed."""
        return len({*self._get_numbers(now), number_pseudonym}) < DISBELIEF_NUMBERS

    def is_full(self, now: int) -> bool:
        """Whether no refusal is believed any more."""
        return len(self._get_numbers(now)) >= DISBELIEF_NUMBERS

    def _get_numbers(self, now: int) -> tuple[str, ...]:
        return self.number_pseudonyms if now - self.at < DISBELIEF_WINDOW_MS else ()


def is_number_refusal(reply: Reply) -> bool:
    """Whether the provider calls the number unreachable, and does not block it."""
    return (
        isinstance(reply, Refused)
        and reply.fault is Fault.RECIPIENT
        and reply.scope is not RefusalScope.BLOCKED
    )
