"""As whom messages are sent: a name where that is allowed, a number where one is required."""

import re
from collections.abc import Mapping
from typing import Protocol

from otp_service.core.delivery import Message
from otp_service.sms.validation import Faults


NUMBERS_ONLY = frozenset({"US", "CA"})
"""Where an alphanumeric sender is dropped or refused: a registered number is required (R44)."""


class HasSenders(Protocol):
    """The settings of a provider, as far as they say who sends."""

    @property
    def sender(self) -> str:
        """A number or a name of ours; empty if there is none."""

    @property
    def senders(self) -> Mapping[str, str]:
        """The same by country, before all others."""


def sender_for(settings: HasSenders, message: Message) -> str:
    """Return the sender for this destination; empty if there is none that may be used."""
    country = message.to.country
    candidates = (settings.senders.get(country), message.sender, settings.sender)
    numbers = country in NUMBERS_ONLY
    fitting = (one for one in candidates if one and (is_number(one) or not numbers))
    return next(fitting, "")


def serves(settings: HasSenders, place: str) -> bool:
    """Whether messages to this country, or to numbers that begin so, have a sender."""
    if place not in NUMBERS_ONLY and place != "+1":
        return True
    return is_number(settings.senders.get(place, "") or settings.sender)


def sender_faults(settings: HasSenders) -> Faults:
    """Tell which senders would be dropped."""
    for country in sorted(NUMBERS_ONLY & settings.senders.keys()):
        if not is_number(settings.senders[country]):
            yield f"senders.{country}", "must be a registered number: names are not taken there"


def is_number(sender: str) -> bool:
    """Whether a sender is a number or a short code, and not a name."""
    return re.fullmatch(r"\+?[0-9]{3,15}", sender) is not None
