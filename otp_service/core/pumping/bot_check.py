"""The result of a check by the caller that its client is no program."""

from enum import StrEnum


class BotCheck(StrEnum):
    """What a CAPTCHA, an attestation of the app or a similar check of the caller has found."""

    PASSED = "passed"
    """Half of the price or of the message is charged, in every scope but the budget of the day and the
    countries of an address."""
    FAILED = "failed"
    """The send is refused before anything is charged."""
    NONE = "none"
    """There was no check: as without the member."""
