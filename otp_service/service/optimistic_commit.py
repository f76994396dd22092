"""Commits that raise what refuses them, and that are decided again after a conflict."""

from collections.abc import Callable

import msgspec

from otp_service.core.challenge import Challenge
from otp_service.core.errors import (
    ChallengeNotFound,
    NumberLocked,
    NumberNotAllowed,
    RateLimited,
    StoreUnavailable,
)
from otp_service.core.limits import LimitRefusal
from otp_service.core.ports import (
    Blocked,
    ChallengeSnapshot,
    Commit,
    CommitRefusal,
    Committed,
    Conflict,
    Locked,
    Store,
)


MAX_CONFLICTS = 16
"""Conflicts after which a change is given up; five attempts and three sends cause far fewer."""


class CommitResult(msgspec.Struct, frozen=True):
    """A commit that was applied."""

    commit: Commit
    committed: Committed
    previous_snapshot: ChallengeSnapshot | None = None
    """The snapshot that it was decided on, if it was one."""

    def to_snapshot(self) -> ChallengeSnapshot:
        """Return the challenge as the commit left it; the secret is empty if it was not swapped."""
        swap = self.commit.swap
        assert swap
        return ChallengeSnapshot(self.committed.now, swap.new, swap.secret or None)


async def commit_once(store: Store, commit: Commit) -> CommitResult:
    """Apply a commit. Raises the error of its refusal, and StoreUnavailable on a conflict."""
    outcome = await store.commit(commit)
    match outcome:
        case Committed():
            return CommitResult(commit, outcome)
        case Conflict():
            raise StoreUnavailable
        case LimitRefusal() | Locked() | Blocked():
            raise error_from_refusal(outcome)


async def commit_with_retry(
    store: Store, snapshot: ChallengeSnapshot, build_commit: Callable[[ChallengeSnapshot], Commit]
) -> CommitResult:
    """Apply the commit that `build_commit` decides on; after a conflict it decides again.

    Raises what `build_commit` raises, the error of a refusal, and StoreUnavailable after
    MAX_CONFLICTS conflicts.
    """
    for _ in range(MAX_CONFLICTS):
        commit = build_commit(snapshot)
        outcome = await store.commit(commit)
        match outcome:
            case Committed():
                return CommitResult(commit, outcome, snapshot)
            case Conflict():
                snapshot = outcome.snapshot
            case LimitRefusal() | Locked() | Blocked():
                raise error_from_refusal(outcome)
    raise StoreUnavailable


def error_from_refusal(refusal: CommitRefusal) -> NumberNotAllowed | NumberLocked | RateLimited:
    """Return the error for the caller whose commit was refused."""
    match refusal:
        case Blocked():
            return NumberNotAllowed("blocked")
        case Locked():
            return NumberLocked()
        case LimitRefusal(limit=limit, window=window):
            return RateLimited(
                limit,
                retry_after=refusal.retry_after,
                quota=window.count,
                period_seconds=window.period_seconds,
            )


def require_challenge(snapshot: ChallengeSnapshot) -> Challenge:
    """Return the challenge. Raises ChallengeNotFound if it no longer exists."""
    if snapshot.challenge is None:
        raise ChallengeNotFound
    return snapshot.challenge
