"""What faults excuse, and for how long.

What the contract promises then, from docs/security.md ("What is not protected"), docs/limits.md
("How windows count"), docs/backup-and-restore.md and docs/operation.md ("Failures"):

- With `redis.replicas` that count each replica that may be promoted, an attempt charge, an issue and a
  success that was answered survive a failover. A cancel, a refusal and a refund may be lost, and the
  charge of a send during whose call the failover is.
- Without, a failover or a crash gives back what its lost writes had charged, one charge for each
  lost write at most, and may accept a code again.
- A store that is replaced by an empty one begins all budgets again. So does a new `limit` key.
- Windows count by the clock of the store. If it is set, a charge may leave its window as much earlier
  or later.
- A call that is 503 costs nothing once the store answers again, for an outage of up to four minutes,
  and if its worker lives until then.
- A store that is down, full, read-only or loading compares nothing and sends nothing.
"""

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise

from tests.simulation.history import CallRecord, FaultKind, FaultRecord, History


MAX_REFUND_WAIT_MS = 240_000
"""docs/limits.md: "after an outage of up to four minutes it is enough to follow Retry-After"."""
RETRY_AFTER_503_MS = 1_000
"""README.md: "On 503 it is 1 second"."""
RECOVERY_MS = 5_000
"""How long a worker may need to find a store that answers again."""

CLOSED_STORE_KINDS = frozenset(
    {
        FaultKind.STORE_DOWN,
        FaultKind.STORE_FULL,
        FaultKind.STORE_READ_ONLY,
        FaultKind.STORE_LOADING,
    }
)
TROUBLE_KINDS = CLOSED_STORE_KINDS | {
    FaultKind.LINK_CUT,
    FaultKind.LINK_FROZEN,
    FaultKind.LINK_SLOW,
    FaultKind.PARTITION,
    FaultKind.HOST_PAUSED,
    FaultKind.STORE_RESTART,
    FaultKind.STORE_REPLACED,
    FaultKind.STORE_FAILOVER,
    FaultKind.REPLICA_DOWN,
    FaultKind.REPLICA_SLOW,
    FaultKind.ARCHIVE_FULL,
    FaultKind.ARCHIVE_DOWN,
}
"""The faults after which a call may be 503."""

LIMIT_RING = "limit"
"""The key ring that names budgets: docs/key-rotation.md, "What is not moved"."""

EPOCH_KINDS = (FaultKind.STORE_RESTART, FaultKind.STORE_REPLACED, FaultKind.STORE_FAILOVER)


class Disturbance:
    """The faults of one run, as questions about a span of true time.

    A span is given by its first and last millisecond.
    """

    def __init__(self, history: History) -> None:
        faults = sorted(history.faults, key=lambda fault: fault.at)
        self.epoch_starts = [fault.at for fault in faults if fault.kind in EPOCH_KINDS]
        self._durable_losses = [
            loss
            for fault in faults
            if (loss := _measure_loss(fault, is_replicated=history.settings.is_replicated))
        ]
        self._losses = [
            loss for fault in faults if (loss := _measure_loss(fault, is_replicated=False))
        ]
        self._limit_rotations = [
            _find_span(f)
            for f in faults
            if f.kind == FaultKind.KEY_ROTATION and f.target == LIMIT_RING
        ]
        self._closed = [_find_span(f) for f in faults if f.kind in CLOSED_STORE_KINDS]
        waits = history.settings.is_replicated
        self._unacknowledged = [
            _find_span(f) for f in faults if waits and f.kind == FaultKind.REPLICA_DOWN
        ]
        self._troubles = _merge_spans(_find_span(f) for f in faults if f.kind in TROUBLE_KINDS)
        self._crashes: dict[str, list[int]] = defaultdict(list)
        for fault in faults:
            if fault.kind == FaultKind.WORKER_CRASH:
                self._crashes[fault.target].append(fault.at)
        self._replacements = [
            (_find_span(f), f.target if f.kind == FaultKind.WORKER_RESTART else None)
            for f in faults
            if f.kind in {FaultKind.WORKER_RESTART, FaultKind.KEY_ROTATION}
        ]
        self._clock_steps = sorted(_list_clock_steps(faults))

    def count_lost_writes(self, start: float, end: float, *, is_durable: bool = True) -> float:
        """Return how many writes from before a loss in this span may be gone; infinity for all.

        `is_durable` is whether the promise is about an attempt charge, an issue or a success.
        """
        losses = self._durable_losses if is_durable else self._losses
        found = (count for at, until, count in losses if at <= end and until >= start)
        return sum(found) if losses else 0

    def has_lost_writes(self, start: float, end: float, *, is_durable: bool = True) -> bool:
        """Return whether what was written before a loss in this span may be gone."""
        return self.count_lost_writes(start, end, is_durable=is_durable) > 0

    def count_forgiven_charges(self, start: float, end: float) -> float:
        """Return how many charges of this span budgets may not count; infinity for all."""
        if any(at <= end and until >= start for at, until in self._limit_rotations):
            return math.inf
        return self.count_lost_writes(start, end)

    def is_store_closed(self, start: int, end: int) -> bool:
        """Return whether the store took no write in the whole span.

        A fault in the first millisecond of a call may have begun after the commit of the call.
        """
        return any(at < start and end < until for at, until in self._closed)

    def is_unacknowledged(self, start: int, end: int) -> bool:
        """Return whether `WAIT` could not be met in the whole span."""
        return any(at < start and end < until for at, until in self._unacknowledged)

    def has_trouble(self, start: float, end: float) -> bool:
        """Return whether a fault of the store or of a link to it overlaps the span."""
        index = bisect_right(self._troubles, (end, math.inf))
        return index > 0 and self._troubles[index - 1][1] >= start

    def find_release(self, call: CallRecord) -> float:
        """Return the instant from which a call that was refused or 503 has no charge any more.

        A refund is a write like others, so a loss at any later time may bring the charge back.
        """
        if call.ended_at is None:
            return math.inf
        release: float = call.ended_at + RETRY_AFTER_503_MS
        for start, end in self._troubles:
            if start <= release and end >= call.started_at:
                release = max(release, end + RECOVERY_MS)
        is_late = release - call.ended_at > MAX_REFUND_WAIT_MS + RECOVERY_MS
        if is_late or self.has_lost_writes(call.started_at, math.inf, is_durable=False):
            return math.inf
        crashes = self._crashes.get(call.worker, ())
        is_crashed = any(call.started_at <= at <= release for at in crashes)
        return math.inf if is_crashed or self._may_give_up_refund(call, release) else release

    def _may_give_up_refund(self, call: CallRecord, release: float) -> bool:
        """Return whether the worker may have been replaced before the store took the refund.

        One that ends tries the refunds that wait for two seconds, and the charges of the others stay
        (REFUND_DRAIN_SECONDS). Every worker is replaced in a rotation.
        """
        return self.has_trouble(call.started_at, release) and any(
            worker in (None, call.worker) and start <= release and end >= call.started_at
            for (start, end), worker in self._replacements
        )

    def has_clock_step(self, start: float, end: float) -> bool:
        """Return whether the clock of the store was set in this span."""
        return any(start <= at <= end for at, _target, _step in self._clock_steps)

    def is_clock_set_back(self, start: float, end: float) -> bool:
        """Return whether the clock of the store was set back in this span."""
        return any(start <= at <= end and step < 0 for at, _target, step in self._clock_steps)

    def stretch(self, at: int) -> int:
        """Return the instant plus how far the clock of the store was set until then, either way.

        A span of stretched time is at least as long as the same span by the clock of the store, and
        as the true one.
        """
        if not self._clock_steps:
            return at
        return at + sum(abs(step) for start, _target, step in self._clock_steps if start <= at)

    def measure_slack(self, at: float) -> int:
        """Return how much longer than its period a charge may count, because a clock was set."""
        return sum(abs(step) for start, _target, step in self._clock_steps if start <= at)

    def read_store_clocks(self, start: int, end: int | None = None) -> tuple[int, int]:
        """Return the earliest and the latest instant that a clock of the store may show in a span."""
        end = start if end is None else end
        if not self._clock_steps:
            return start, end
        inside = [at for at, _target, _step in self._clock_steps if start < at <= end]
        readings = [
            at + offset
            for first, last in pairwise([start, *inside, end])
            for offset in self._list_clock_offsets(first)
            for at in (first, last)
        ]
        readings += [end + offset for offset in self._list_clock_offsets(end)]
        return min(readings), max(readings)

    def _list_clock_offsets(self, at: int) -> list[int]:
        """Return how far each clock is ahead; of several servers one may be right."""
        targets = {target for _start, target, _step in self._clock_steps}
        offsets = [
            sum(step for start, other, step in self._clock_steps if other == target and start <= at)
            for target in targets
        ]
        return offsets if len(targets) == 1 else [0, *offsets]


def _measure_loss(fault: FaultRecord, *, is_replicated: bool) -> tuple[float, float, float] | None:
    """Return when a fault may lose writes, from and until, and how many; None for no writes.

    A failover lasts as long as the former master takes writes, which are lost as well.
    """
    if fault.kind == FaultKind.STORE_REPLACED:
        return fault.at, fault.at, math.inf
    if fault.kind == FaultKind.STORE_FAILOVER and is_replicated:
        return None
    if fault.kind in EPOCH_KINDS and fault.lost_writes:
        return *_find_span(fault), fault.lost_writes
    return None


def _find_span(fault: FaultRecord) -> tuple[float, float]:
    return fault.at, math.inf if fault.until is None else fault.until


def _merge_spans(spans: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return spans that do not overlap, in order."""
    merged: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _list_clock_steps(faults: Iterable[FaultRecord]) -> Iterable[tuple[int, str, int]]:
    for fault in faults:
        if fault.kind == FaultKind.STORE_CLOCK:
            yield fault.at, fault.target, fault.jump_ms
            if fault.until is not None:
                yield fault.until, fault.target, -fault.jump_ms
