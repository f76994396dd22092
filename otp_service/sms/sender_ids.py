"""Sender ids: a name where that is allowed, a number where one is required."""

import re
from collections.abc import Mapping
from typing import Protocol

from otp_service.core.delivery import Message
from otp_service.core.url_check import FieldErrors


NUMERIC_SENDER_COUNTRIES = frozenset({"US", "CA"})
"""Here an alphanumeric sender is dropped or refused: a registered number is required (R44)."""


class SenderSettings(Protocol):
    """The settings of a provider that select the sender."""

    @property
    def sender(self) -> str:
        """A number or a name of ours, or empty."""

    @property
    def senders(self) -> Mapping[str, str]:
        """The same by country; takes precedence over all others."""


def select_sender_id(settings: SenderSettings, message: Message) -> str:
    """Return the sender for this destination; empty without an allowed one."""
    country = message.to.country
    candidates = (settings.senders.get(country), message.sender, settings.sender)
    any_kind = country not in NUMERIC_SENDER_COUNTRIES
    allowed = (each for each in candidates if each and (any_kind or is_numeric_sender_id(each)))
    return next(allowed, "")


def can_serve(settings: SenderSettings, destination: str) -> bool:
    """Whether messages to this country or number prefix have a sender."""
    if destination not in NUMERIC_SENDER_COUNTRIES and destination != "+1":
        return True
    return is_numeric_sender_id(settings.senders.get(destination, "") or settings.sender)


def find_sender_errors(settings: SenderSettings) -> FieldErrors:
    """Yield the errors of senders that would be dropped."""
    for country in sorted(NUMERIC_SENDER_COUNTRIES & settings.senders.keys()):
        if not is_numeric_sender_id(settings.senders[country]):
            yield f"senders.{country}", "must be a registered number: names are not accepted there"


def is_numeric_sender_id(sender_id: str) -> bool:
    """Whether a sender is a number or a short code, not a name."""
    return re.fullmatch(r"\+?[0-9]{3,15}", sender_id) is not None
