"""Buckets of theoretical arrival times."""

import math

import msgspec

from otp_service.core.limits import ROUNDING_TOLERANCE_MS, compute_gcra, rebase_tat
from otp_service.core.timestamps import SECOND_MS
from otp_service.store.commit_request import BucketOperation
from tests.simulation.redis_model.commit_script.bucket import Bucket
from tests.simulation.redis_model.commit_script.packed_values import pack_numbers
from tests.simulation.redis_model.commit_script.script_call import CommitContext
from tests.simulation.redis_model.typed_values import read_string


_decode_tats = msgspec.msgpack.Decoder(list[float]).decode


class GcraBucket(Bucket):
    """One theoretical arrival time for each window."""

    def __init__(self, context: CommitContext, key: bytes) -> None:
        super().__init__(context, key)
        stored = read_string(context.keyspace, key)
        *tats, written_at = _decode_tats(stored) if stored else (0,)
        now = self.now
        self.tats = [rebase_tat(tat, int(written_at), now) for tat in tats]
        self.is_set_back = written_at > now

    def settle(self) -> bool:
        is_set_back, self.is_set_back = self.is_set_back, False
        return is_set_back

    def write(self) -> None:
        last = max(self.tats, default=0.0)
        if last > self.now:
            packed = pack_numbers([*self.tats, self.now])
            self.context.call.put_for(self.key, packed, math.ceil(last - self.now))
        else:
            self.context.keyspace.delete(self.key)

    def compute_wait(self, operation: BucketOperation) -> tuple[float, int]:
        longest, index = 0, 1
        for i, (wait, _) in enumerate(self._compute(operation, operation.cost), 1):
            if wait > longest:
                longest, index = wait, i
        return longest, index

    def count_used(self, operation: BucketOperation, index: int) -> int:
        window = operation.windows[index]
        level_ms = (self.tats[index] if index < len(self.tats) else 0) - self.now
        interval_ms = window.period_seconds * SECOND_MS / window.count
        return max(0, math.ceil((level_ms - ROUNDING_TOLERANCE_MS) / interval_ms))

    def charge(self, operation: BucketOperation) -> None:
        self._move(operation, operation.cost)

    def refund(self, operation: BucketOperation) -> None:
        if self.tats:
            self._move(operation, -operation.cost)

    def _compute(self, operation: BucketOperation, cost: int) -> list[tuple[int, float]]:
        """Return the wait for a cost, and the TAT with it, for each window."""
        tats = self.tats + [0] * (len(operation.windows) - len(self.tats))
        return [
            compute_gcra(tats[i], window, cost, self.now)
            for i, window in enumerate(operation.windows)
        ]

    def _move(self, operation: BucketOperation, cost: int) -> None:
        moved = [tat for _, tat in self._compute(operation, cost)]
        self.tats = moved + self.tats[len(moved) :]  # those of windows that are no longer set stay
        self.write()
