"""A challenge is changed by whoever moves first; everybody else decides anew on what is left."""

from collections.abc import Callable

import msgspec

from otp_service.core.challenge import Challenge
from otp_service.core.errors import ChallengeNotFound, StoreUnavailable
from otp_service.core.limits import LimitRefusal
from otp_service.core.ports import Blocked, ChallengeSnapshot, Commit, Committed, Store


MAX_CONFLICTS = 16
"""How often a change is decided anew; five attempts and three sends bound it far below."""


class CommitResult(msgspec.Struct, frozen=True):
    """A commit that nobody was before: what it was decided on, and what came of it."""

    previous_snapshot: ChallengeSnapshot
    commit: Commit
    outcome: Committed | LimitRefusal | Blocked

    def to_snapshot(self) -> ChallengeSnapshot:
        """Return the challenge as the commit has left it, if it cannot have been refused."""
        assert isinstance(self.outcome, Committed)
        assert self.commit.swap
        return ChallengeSnapshot(
            self.outcome.now, self.commit.swap.new, self.commit.swap.secret or None
        )


async def commit_with_retry(
    store: Store, snapshot: ChallengeSnapshot, build_commit: Callable[[ChallengeSnapshot], Commit]
) -> CommitResult:
    """Commit what `decide` makes of the newest state.

    What `decide` raises ends it. Raises StoreUnavailable if the state never stands still.
    """
    for _ in range(MAX_CONFLICTS):
        commit = build_commit(snapshot)
        outcome = await store.commit(commit)
        if not isinstance(outcome, ChallengeSnapshot):
            return CommitResult(snapshot, commit, outcome)
        snapshot = outcome
    raise StoreUnavailable


def require_challenge(snapshot: ChallengeSnapshot) -> Challenge:
    """Return the challenge. Raises ChallengeNotFound if there is none any more."""
    if snapshot.challenge is None:
        raise ChallengeNotFound
    return snapshot.challenge
