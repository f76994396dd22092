"""Recording that a challenge has expired, before that is reported to a caller."""

from otp_service.core.challenge import ChallengeStatus
from otp_service.core.commit import ChallengeSnapshot, Commit, CompareAndSwap
from otp_service.core.ports import Store
from otp_service.service.context import CallContext
from otp_service.service.optimistic_commit import commit_with_retry


async def record_expiry(
    store: Store, context: CallContext, snapshot: ChallengeSnapshot
) -> ChallengeSnapshot:
    """Return the challenge, recorded as expired if it has expired, and without its secret.

    Expiry is computed from the clock. Without the record, a clock that is set back would make a
    code valid again that was reported as expired. The record is written once.
    """

    def build_expiry_commit(current: ChallengeSnapshot) -> Commit:
        old = current.require_challenge()
        if not _is_expiry_unrecorded(current):
            return context.build_commit()
        return context.build_commit(swap=CompareAndSwap(old, old.expire(current.now), None))

    if not _is_expiry_unrecorded(snapshot):
        return snapshot
    result = await commit_with_retry(store, snapshot, build_expiry_commit)
    assert result.previous_snapshot
    return result.to_snapshot() if result.commit.swap else result.previous_snapshot


def _is_expiry_unrecorded(snapshot: ChallengeSnapshot) -> bool:
    challenge = snapshot.challenge
    if challenge is None or challenge.has_expired:
        return False
    return challenge.compute_status(snapshot.now) is ChallengeStatus.EXPIRED
