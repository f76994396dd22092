"""Buckets of the instants of their charges."""

import msgspec

from otp_service.core.limits import compute_sliding_window_wait
from otp_service.core.timestamps import SECOND_MS
from otp_service.store.commit_request import BucketOperation
from tests.simulation.redis_model.commit_script.bucket import Bucket
from tests.simulation.redis_model.commit_script.script_call import CommitContext
from tests.simulation.redis_model.replies import ErrorReply
from tests.simulation.redis_model.typed_values import read_string


_encode_units = msgspec.msgpack.Encoder().encode
_decode_units = msgspec.msgpack.Decoder(list[int | str]).decode


class SlidingWindowBucket(Bucket):
    """The instant and the mark of each charged unit."""

    def __init__(self, context: CommitContext, key: bytes) -> None:
        super().__init__(context, key)
        stored = read_string(context.keyspace, key)
        units = _decode_units(stored) if stored else []
        self.instants: list[int] = units[::2]  # type: ignore[assignment]  # by the format
        self.marks = units[1::2]

    def settle(self) -> bool:
        is_ahead = any(instant > self.now for instant in self.instants)
        if is_ahead:
            self.instants = [min(instant, self.now) for instant in self.instants]
        return is_ahead

    def write(self) -> None:
        if self.instants:
            self.context.keyspace.replace(self.key, self._pack())
        else:
            self.context.keyspace.delete(self.key)

    def compute_wait(self, operation: BucketOperation) -> tuple[float, int]:
        longest, index = 0, 1
        for i, window in enumerate(operation.windows, 1):
            try:
                wait = compute_sliding_window_wait(
                    self.instants, (window,), operation.cost, self.now
                )
            except IndexError:
                raise ErrorReply("a cost exceeds the count of its window") from None
            if wait > longest:
                longest, index = wait, i
        return longest, index

    def count_used(self, operation: BucketOperation, index: int) -> int:
        return len(self.instants) - self._find_oldest(operation.windows[index].period_seconds)

    def charge(self, operation: BucketOperation) -> None:
        longest_seconds = max(window.period_seconds for window in operation.windows)
        oldest = self._find_oldest(longest_seconds)
        mark = self.get_mark(operation).decode()
        self.instants = self.instants[oldest:] + [self.now] * operation.cost
        self.marks = self.marks[oldest:] + [mark] * operation.cost
        self.context.call.put_for(self.key, self._pack(), longest_seconds * SECOND_MS)

    def refund(self, operation: BucketOperation) -> None:
        left, mark = operation.cost, self.get_mark(operation).decode()
        for i in reversed(range(len(self.marks))):
            if left and self.marks[i] == mark:
                del self.instants[i], self.marks[i]
                left -= 1
        if left < operation.cost:
            self.write()

    def _find_oldest(self, period_seconds: int) -> int:
        """Return the index of the oldest unit that a period includes, or of the next one."""
        ended_at = self.now - period_seconds * SECOND_MS
        return next(
            (i for i, instant in enumerate(self.instants) if instant > ended_at), len(self.instants)
        )

    def _pack(self) -> bytes:
        return _encode_units(
            [part for unit in zip(self.instants, self.marks, strict=True) for part in unit]
        )
