"""Buckets that count consecutive failures."""

import math
from typing import Final

from otp_service.core.limits import compute_consecutive_failures_wait
from otp_service.store.commit_request import BucketOperation, ConsecutiveFailuresRule
from tests.simulation.redis_model.commit_script.bucket import Bucket
from tests.simulation.redis_model.commit_script.script_call import CommitContext
from tests.simulation.redis_model.keyspace import Hash
from tests.simulation.redis_model.replies import ErrorReply
from tests.simulation.redis_model.typed_values import read_fields


UNTIL_UNLOCKED: Final = math.inf
"""The wait that no time ends."""


class FailuresBucket(Bucket):
    """The count of consecutive failures, and what a refund of the last one needs."""

    def __init__(self, context: CommitContext, key: bytes) -> None:
        super().__init__(context, key)
        fields = read_fields(context.keyspace, key)
        self.count = int(fields.get(b"count", 0))
        self.last = int(fields.get(b"last", 0))
        self.previous = int(fields.get(b"previous", 0))
        self.operation = fields.get(b"operation")
        self.rule = context.request.consecutive_failures_rule
        if self.rule != ConsecutiveFailuresRule():
            raise NotImplementedError("core/limits.py has one rule")

    def settle(self) -> bool:
        is_ahead = self.last > self.now
        self.last = min(self.last, self.now)
        return is_ahead

    def write(self) -> None:
        self._set({b"last": b"%d" % self.last})

    def compute_wait(self, operation: BucketOperation) -> tuple[float, int]:
        count, max_failures = self.count + operation.initial_count, operation.windows[0].count
        wait = compute_consecutive_failures_wait(count, self.last, self.now, max_failures)
        if wait is None:
            return UNTIL_UNLOCKED, 1
        has_delay = operation.cost > 0 and not operation.skip_delay
        return (wait if has_delay else 0), 1

    def count_used(self, operation: BucketOperation, index: int) -> int:  # noqa: ARG002  # has one
        return self.count + operation.initial_count

    def charge(self, operation: BucketOperation) -> int:
        if not operation.subject_index:
            raise ErrorReply("Lua redis lib command arguments must be strings or integers")
        self.count += operation.cost
        self.previous, self.last, self.operation = self.last, self.now, self.get_mark(operation)
        self._set(
            {
                b"count": b"%d" % self.count,
                b"last": b"%d" % self.last,
                b"previous": b"%d" % self.previous,
                b"operation": self.operation,
                b"subject": self.context.arguments[operation.subject_index - 1],
            },
            self.rule.ttl_ms,
        )
        return self.count + operation.initial_count

    def refund(self, operation: BucketOperation) -> None:
        if self.count == 0:
            return
        self.count -= operation.cost
        if self.operation == self.get_mark(operation):
            self.last = self.previous
        if self.count <= 0:
            self.context.keyspace.delete(self.key)
        else:
            self._set({b"count": b"%d" % self.count, b"last": b"%d" % self.last})

    def _set(self, changed: dict[bytes, bytes], ttl_ms: int = 0) -> None:
        """Write fields, and with a TTL also how long the bucket is kept from now on."""
        keyspace, key = self.context.keyspace, self.key
        value = Hash({**read_fields(keyspace, key), **changed})
        if ttl_ms:
            keyspace.put(key, value, keyspace.clock() + ttl_ms)
        else:
            keyspace.replace(key, value)
