"""The policy of codes: length, lifetime, and how often they may be tried and sent."""

import msgspec

from otp_service.core.timestamps import HOUR_MS, MINUTE_MS, SECOND_MS


ENDED_RETENTION_MS = HOUR_MS
"""How long the status of an ended challenge is kept."""

SEND_ALLOWANCE_MS = 10 * SECOND_MS
"""The time between charge and send that does not reduce the minutes in the message."""

RESEND_MARGIN_MS = MINUTE_MS
"""A resend needs more lifetime than this, or its message would arrive too late."""

MIN_LIFETIME_SECONDS = 60
MAX_LIFETIME_SECONDS = 600
"""The maximum that other constants depend on."""

MIN_ADVISED_COOLDOWN_SECONDS = 15
MAX_ADVISED_SENDS = 5

POLICY_BOUNDS = (
    ("digits", 6, 10, ": shorter codes are guessed"),
    ("lifetime", MIN_LIFETIME_SECONDS, MAX_LIFETIME_SECONDS, " seconds: NIST allows ten minutes"),
    ("attempts", 1, 5, ": PSD2 allows five"),
    ("sends", 1, 10, ""),
    ("live_codes", 1, 2, ": each one more doubles the odds of a guess"),
    ("cooldown", 1, 600, " seconds"),
)


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rules of a challenge. The bounds are NIST SP 800-63B-4 §3.1.3.2 and PSD2 RTS 4(3)(b)."""

    digits: int = 6
    lifetime: int = 300
    attempts: int = 5
    sends: int = 3
    live_codes: int = 2
    cooldown: int = 30

    def find_errors(self) -> list[tuple[str, str]]:
        """Return (field, remedy) for every rule that is out of its bounds."""
        return [
            (field, f"must be from {minimum} to {maximum}{reason}")
            for field, minimum, maximum, reason in POLICY_BOUNDS
            if not minimum <= getattr(self, field) <= maximum
        ]

    def find_warnings(self) -> list[tuple[str, str]]:
        """Return (field, remedy) for the rules that let a caller flood a phone."""
        warnings = []
        if self.cooldown < MIN_ADVISED_COOLDOWN_SECONDS:
            remedy = "messages reach a phone in any order: a person enters an older code, and fails"
            warnings.append(("cooldown", f"is {self.cooldown} s: {remedy}"))
        if self.sends > MAX_ADVISED_SENDS:
            remedy = "a phone that got none of the first messages gets none of the next"
            warnings.append(("sends", f"is {self.sends}: {remedy}, and each one is billed"))
        return warnings

    def count_minutes_left(self, deadline: int, now: int) -> int:
        """Return the whole minutes to state in a message, after SEND_ALLOWANCE_MS."""
        return max(1, (deadline - now + SEND_ALLOWANCE_MS) // (60 * SECOND_MS))
