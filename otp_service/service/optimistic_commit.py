"""Commits that raise what refuses them, and that are decided again after a conflict."""

from collections.abc import Awaitable, Callable, Sequence

import msgspec

from otp_service.core.commit import (
    ChallengeSnapshot,
    Commit,
    CommitOutcome,
    Committed,
    Conflict,
    RecordConflict,
    Undone,
)
from otp_service.core.errors import StoreUnavailable
from otp_service.core.ports import Store


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
    return CommitResult(commit, require_committed(await store.commit(commit)))


def require_committed(outcome: CommitOutcome) -> Committed:
    """Return the outcome. Raises the error of its refusal, and StoreUnavailable on a conflict."""
    match outcome:
        case Committed():
            return outcome
        case Conflict() | RecordConflict():
            raise StoreUnavailable
        case _:
            raise outcome.to_error()


def require_all_committed(outcomes: Sequence[CommitOutcome | Undone]) -> list[Committed]:
    """Return the outcomes of `Store.commit_together`, as `require_committed` does."""
    return [require_committed(one) for one in outcomes if not isinstance(one, Undone)]


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
    store: Store,
    snapshot: ChallengeSnapshot,
    build_commit: Callable[[ChallengeSnapshot], Commit],
    apply: Callable[[Commit], Awaitable[CommitOutcome]] | None = None,
) -> CommitResult:
    """Apply the commit that `build_commit` decides on; after a conflict it decides again.

    `apply` applies it instead of the store, together with other commits. Raises what these functions
    raise, the error of a refusal, and StoreUnavailable after MAX_CONFLICTS conflicts.
    """
    apply = apply or store.commit
    for _ in range(MAX_CONFLICTS):
        commit = build_commit(snapshot)
        outcome = await apply(commit)
        if not isinstance(outcome, Conflict):
            return CommitResult(commit, require_committed(outcome), snapshot)
        snapshot = outcome.snapshot
    raise StoreUnavailable
