"""Recognition of a repeated verify call: the same Idempotency-Key, challenge and code."""

from otp_service.core.challenge import Challenge, VerifyReplayKey
from otp_service.core.codes import constant_time_equal
from otp_service.core.keys import Key, join_length_prefixed
from otp_service.core.timestamps import CLOCK_TOLERANCE_MS, MINUTE_MS


REPLAY_WINDOW_MS = MINUTE_MS
"""For this long, a repeat of the winning call with its Idempotency-Key gets the same answer."""


def build_replay_key(
    mac_key: Key, challenge: Challenge, idempotency_key: str, code: str, phone_number: str | None
) -> VerifyReplayKey:
    """Return the MACs of a verify call; spaces and hyphens in the code are ignored."""
    digits = code.replace(" ", "").replace("-", "")
    # The number is included because a verified challenge no longer holds it; purpose and account
    # are compared with the challenge again.
    tried = join_length_prefixed(digits.encode(), (phone_number or "").encode())
    prefix = (challenge.tenant.encode(), challenge.id.encode())
    return VerifyReplayKey(
        mac_key.compute_mac("answer-key", *prefix, idempotency_key.encode()),
        mac_key.compute_mac("answer-code", *prefix, tried),
    )


def is_replay(replay_key: VerifyReplayKey, challenge: Challenge, now: int) -> bool:
    """Whether the challenge was verified by a call with this key, in the replay window."""
    won, verified_at = challenge.replay_key, challenge.verified_at
    return (
        won is not None
        and verified_at is not None
        and verified_at - CLOCK_TOLERANCE_MS <= now < verified_at + REPLAY_WINDOW_MS
        and constant_time_equal(won.key_mac, replay_key.key_mac)
        and constant_time_equal(won.code_mac, replay_key.code_mac)
    )
