"""The Verify Services of Twilio's API: what a tenant calls a policy, and when a start is a resend."""

from collections.abc import Mapping
from typing import Literal

import msgspec

from otp_service.core.challenge import Challenge, ChallengeStatus
from otp_service.core.policy import RESEND_MARGIN_MS


DEFAULT_VERIFY_LIFETIME_SECONDS = 600
"""Twilio's: codes that its messages announce are valid for ten minutes."""

RateLimitField = Literal["client_ip", "account"]


class VerifyService(msgspec.Struct, frozen=True):
    """One Verify Service: the name under which a tenant starts verifications."""

    sid: str
    friendly_name: str
    lifetime: int = DEFAULT_VERIFY_LIFETIME_SECONDS
    """Seconds for which its codes are valid."""
    purpose: str = "login"
    rate_limits: Mapping[str, RateLimitField] = {}
    """By the name of the caller's rate limit: the field that our limits count."""


class VerifyAccount(msgspec.Struct, frozen=True):
    """A tenant as Twilio's API names it, and its Verify Services by their ids."""

    sid: str
    services: Mapping[str, VerifyService]


class VerificationStart(msgspec.Struct, frozen=True):
    """What the issue of a verification has that the issue of another challenge does not."""

    service: VerifyService
    pointer_version: int
    """The version of the pointer that it replaces; 0 for none."""


def can_continue(challenge: Challenge | None, now: int) -> bool:
    """Whether a start means this challenge, and not a new one.

    So a start never ends a challenge that another person may be about to verify, and one whose attempts
    or sends are used up gives no fresh ones until a minute before its deadline.
    """
    if challenge is None or challenge.deadline - now < RESEND_MARGIN_MS:
        return False
    status = challenge.compute_status(now)
    return status in {ChallengeStatus.PENDING, ChallengeStatus.LOCKED}


def compute_restart_wait(challenge: Challenge, now: int) -> int:
    """Return the milliseconds until a start means a new challenge; at least 1."""
    return max(1, challenge.deadline - RESEND_MARGIN_MS - now + 1)
