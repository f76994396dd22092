"""The buckets that the charges and refunds of a commit change."""

from otp_service.core.limits import Algorithm
from otp_service.store.commit_request import BucketOperation
from tests.simulation.redis_model.commit_script.bucket import Bucket
from tests.simulation.redis_model.commit_script.failures_bucket import FailuresBucket
from tests.simulation.redis_model.commit_script.gcra_bucket import GcraBucket
from tests.simulation.redis_model.commit_script.script_call import CommitContext
from tests.simulation.redis_model.commit_script.sliding_window_bucket import SlidingWindowBucket


_BUCKET_TYPES: dict[str, type[Bucket]] = {
    Algorithm.SLIDING_WINDOW.value: SlidingWindowBucket,
    Algorithm.GCRA.value: GcraBucket,
    Algorithm.CONSECUTIVE_FAILURES.value: FailuresBucket,
}


def read_bucket(context: CommitContext, operation: BucketOperation) -> Bucket:
    """Return the bucket of a charge or refund. Each key is read once in a commit."""
    key = context.get_key(operation.key_index)
    bucket = context.buckets.get(key)
    if bucket is None:
        bucket = context.buckets[key] = _BUCKET_TYPES[operation.algorithm](context, key)
    return bucket


def change_buckets(context: CommitContext, refunds: list[BucketOperation]) -> int:
    """Charge, refund and reset. Return the count of consecutive failures, 0 without a charge to it."""
    consecutive_failures = 0
    for charge in context.request.charges:
        if charge.cost > 0:
            count = read_bucket(context, charge).charge(charge)
            consecutive_failures = consecutive_failures if count is None else count
    for refund in refunds:
        read_bucket(context, refund).refund(refund)
    for key_index in context.request.reset_buckets:
        context.keyspace.delete(context.get_key(key_index))
    return consecutive_failures
