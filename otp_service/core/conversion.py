"""Which message a verified challenge is counted for, in metrics, statistics and `providers`.

It is the newest message that a provider took or may have taken: people type the code that arrived
last. A repeated answer to a verification is not a second success.
"""

from collections.abc import Sequence

from otp_service.core.delivery import Submission


def find_credited_submission(submissions: Sequence[Submission]) -> Submission | None:
    """Return the submission that a success is counted for, or None if none may have been sent."""
    taken = [one for one in submissions if one.may_be_billed]
    return max(taken, key=lambda one: (one.send, one.ordinal), default=None)


class ConversionMatcher:
    """Finds the same message among audit events, which have to come newest first."""

    def __init__(self) -> None:
        self._verified_challenges: set[str] = set()

    def add_verified(self, challenge_id: str, *, repeated: bool) -> None:
        """Add an `otp.verified` event: the next message of its challenge is the credited one."""
        if challenge_id and not repeated:
            self._verified_challenges.add(challenge_id)

    def add_sent(self, challenge_id: str) -> bool:
        """Add an `otp.sent` event; return whether it is the credited message of its challenge."""
        is_credited = challenge_id in self._verified_challenges
        self._verified_challenges.discard(challenge_id)
        return is_credited
