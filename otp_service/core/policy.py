"""How codes behave: their length, their life and how often they may be tried and sent."""

import msgspec

from otp_service.core.timestamps import HOUR_MS, MINUTE_MS, SECOND_MS


ENDED_RETENTION_MS = HOUR_MS
"""How long a challenge that ended still tells its status."""

SEND_ALLOWANCE_MS = 10 * SECOND_MS
"""Between charging and sending: it does not make five minutes four."""

RESEND_MARGIN_MS = MINUTE_MS
"""With less life than this left, another message would arrive too late to be typed in."""


MAX_LIFETIME_SECONDS = 600
"""Seconds; what depends on no challenge living longer says so."""

POLICY_BOUNDS = (
    ("digits", 6, 10, ": shorter codes are guessed"),
    ("lifetime", 60, MAX_LIFETIME_SECONDS, " seconds: NIST allows ten minutes"),
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
        """Return (field, remedy) for every rule that is looser than can be allowed."""
        return [
            (field, f"must be from {least} to {most}{why}")
            for field, least, most, why in POLICY_BOUNDS
            if not least <= getattr(self, field) <= most
        ]

    def compute_deadline(self, now: int) -> int:
        """Return the instant at which a challenge that begins now stops being valid."""
        return now + self.lifetime * SECOND_MS

    def count_minutes_left(self, deadline: int, now: int) -> int:
        """Return the minutes to state in a message: whole ones, but for a moment's work."""
        return max(1, (deadline - now + SEND_ALLOWANCE_MS) // (60 * SECOND_MS))
