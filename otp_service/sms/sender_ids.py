"""Sender ids: a name where that is allowed, a number where one is required."""

import re

from phonenumbers import SUPPORTED_REGIONS

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

    @property
    def has_sender_pool(self) -> bool:
        """Whether the vendor selects a sender of the account for a message without one."""
        return False

    def select_sender_id(self, message: Message) -> str:
        """Return the sender for this destination; empty without an allowed one."""
        return self.select_sender(message.to.country, message.sender)

    def select_sender(self, country: str, tenant_sender: str | None = None) -> str:
        """Return the sender for a country; empty without an allowed one."""
        candidates = (self.senders.get(country), tenant_sender, self.sender)
        any_kind = country not in NUMERIC_SENDER_COUNTRIES
        allowed = (each for each in candidates if each and (any_kind or is_numeric_sender_id(each)))
        return next(allowed, "")

    def can_serve(self, country: str) -> bool:
        """Whether messages to this country have an allowed sender, a tenant's name aside.

        Elsewhere than in NUMERIC_SENDER_COUNTRIES the tenant's name may be the sender.
        """
        if country not in NUMERIC_SENDER_COUNTRIES or self.has_sender_pool:
            return True
        return bool(self.select_sender(country))

    def find_sender_errors(self) -> FieldErrors:
        """Yield the errors of senders that would be dropped or never used."""
        for country, sender in sorted(self.senders.items()):
            if country not in SUPPORTED_REGIONS:
                yield f"senders.{country}", "name a country, like US; a prefix is for routes"
            if country in NUMERIC_SENDER_COUNTRIES and not is_numeric_sender_id(sender):
                remedy = "must be a registered number: names are not accepted there"
                yield f"senders.{country}", remedy
