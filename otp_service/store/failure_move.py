"""A move of consecutive failures that is under way, as their bucket notes it."""

from collections.abc import Sequence

import msgspec


class FailureMove(msgspec.Struct, frozen=True, array_like=True):
    """Failures that a bucket has, and that `source` may still have."""

    # Stored by position: never reorder the fields (tests/golden/test_stored_bytes.py).
    id: str
    source: str
    """The key of the bucket that they come from."""
    failures: int


class StoredFailures(msgspec.Struct, frozen=True):
    """What a bucket has, as it was read."""

    key: str
    count: int = 0
    move: FailureMove | None = None
    """Failures that were added to it."""
    taken: FailureMove | None = None
    """Failures that were taken from it."""


FAILURE_FIELDS = ("count", "move", "taken")
"""The fields of a bucket that `parse_failures` needs."""

encode_move = msgspec.msgpack.Encoder().encode

_decode_move = msgspec.msgpack.Decoder(FailureMove).decode


def decode_move(note: bytes | None) -> FailureMove | None:
    """Return the move of a note, or None without one.

    One that another program wrote counts as missing: the failures then count twice, and not less.
    """
    try:
        return _decode_move(note) if note else None
    except msgspec.MsgspecError:
        return None


def parse_failures(key: str, fields: Sequence[bytes | None]) -> StoredFailures:
    """Return the bucket with these values of FAILURE_FIELDS."""
    count, *notes = fields
    move, taken = map(decode_move, notes)
    return StoredFailures(key, int(count or 0), move, taken)


def count_other_failures(charged: StoredFailures, others: Sequence[StoredFailures]) -> int:
    """Return the failures of a subject in other buckets than the one that is charged.

    Failures that were added to one bucket, and not yet taken from the other, count once.
    """
    buckets = {bucket.key: bucket for bucket in (charged, *others)}
    total = sum(bucket.count for bucket in others)
    for bucket in buckets.values():
        source = buckets.get(bucket.move.source) if bucket.move else None
        if bucket.move and source and source.taken != bucket.move:
            total -= min(bucket.move.failures, source.count)
    return max(0, total)
