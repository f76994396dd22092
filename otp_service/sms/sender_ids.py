"""Sender ids: a name where that is allowed, a number where one is required."""

import re

from otp_service.core.delivery import Message
from otp_service.core.url_check import FieldErrors


NUMERIC_SENDER_COUNTRIES = frozenset({"US", "CA"})
"""Here an alphanumeric sender is dropped or refused: a registered number is required (R44)."""


def is_numeric_sender_id(sender_id: str) -> bool:
    """Whether a sender is a number or a short code, not a name."""
    return re.fullmatch(r"\+?[0-9]{3,15}", sender_id) is not None


class SenderSelection:
    """Selects the sender of a message, for settings with `sender` and `senders`."""

    __slots__ = ()

    sender: str
    senders: dict[str, str]

    def select_sender_id(self, message: Message) -> str:
        """Return the sender for this destination; empty without an allowed one."""
        country = message.to.country
        candidates = (self.senders.get(country), message.sender, self.sender)
        any_kind = country not in NUMERIC_SENDER_COUNTRIES
        allowed = (each for each in candidates if each and (any_kind or is_numeric_sender_id(each)))
        return next(allowed, "")

    def can_serve(self, destination: str) -> bool:
        """Whether messages to this country or number prefix have a sender."""
        if destination not in NUMERIC_SENDER_COUNTRIES and destination != "+1":
            return True
        return is_numeric_sender_id(self.senders.get(destination, "") or self.sender)

    def find_sender_errors(self) -> FieldErrors:
        """Yield the errors of senders that would be dropped."""
        for country in sorted(NUMERIC_SENDER_COUNTRIES & self.senders.keys()):
            if not is_numeric_sender_id(self.senders[country]):
                remedy = "must be a registered number: names are not accepted there"
                yield f"senders.{country}", remedy
