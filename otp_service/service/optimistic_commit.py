"""Commits that raise what refuses them, and that are decided again after a conflict."""

from collections.abc import Callable

import msgspec

from otp_service.core.errors import StoreUnavailable
from otp_service.core.ports import (
    ChallengeSnapshot,
    Commit,
    Committed,
    Conflict,
    RecordConflict,
    Store,
)


MAX_CONFLICTS = 16
"""Conflicts after which a change is given up; five attempts and three sends cause far fewer."""


class CommitResult(msgspec.Struct, frozen=True):
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
        case Conflict() | RecordConflict():
            raise StoreUnavailable
        case _:
            raise outcome.to_error()


async def commit_records(store: Store, commit: Commit) -> Committed | RecordConflict:
    """Apply a commit that swaps records. Raises the error of its refusal."""
    outcome = await store.commit(commit)
    match outcome:
        case Committed() | RecordConflict():
            return outcome
        case Conflict():
            raise StoreUnavailable
        case _:
            raise outcome.to_error()


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
            case RecordConflict():
                raise StoreUnavailable
            case _:
                raise outcome.to_error()
    raise StoreUnavailable
