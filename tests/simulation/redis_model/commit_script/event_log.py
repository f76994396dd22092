"""The event log of a partition: epochs, sequence, stamps, and trims of its streams."""

from collections.abc import Mapping
from typing import Any, Final

from msgspec.json import Encoder

from otp_service.core.timestamps import HOUR_MS, MINUTE_MS
from otp_service.store.commit_request import SignedEvent
from tests.simulation.redis_model.commit_script.script_call import CommitContext
from tests.simulation.redis_model.replies import ErrorReply
from tests.simulation.redis_model.typed_values import read_fields, read_stream, set_fields


LOG, EVENTS, REFUSALS, FOLDS, DUE = 2, 3, 4, 5, 6
"""Indexes of the keys of a commit."""

TRIM_INTERVAL_ENTRIES: Final = 32
TRIM_INTERVAL_MS: Final = HOUR_MS
CLOCK_STEP_MS: Final = MINUTE_MS
"""How far a clock is set back before records count as lost."""

_EXACT_DIGITS = 14
_encode_stamp = Encoder().encode


class EventLog:
    """The log of a commit while it is open."""

    def __init__(self, context: CommitContext) -> None:
        """Read the state of the log. `is_new_epoch` says that this server has not written here before."""
        self.context = context
        self.server = context.call.server_info.replication_id
        fields = read_fields(context.keyspace, context.get_key(LOG))
        self.is_new_epoch = fields.get(b"server") != self.server
        self.epoch, self.seq = int(fields.get(b"epoch", 0)), int(fields.get(b"seq", 0))
        self.last_ms = int(fields.get(b"ms", 0))
        self.ms = max(context.now, self.last_ms)
        self.unrecorded = int(fields.get(b"unrecorded", 0))
        self.waiting = self._count_waiting(fields)
        self.archived_ms = int(fields.get(b"archived", b"0").partition(b"-")[0])
        self.trimmed_at = int(fields.get(b"trimmed_at", 0))
        self.is_trim_due = self.is_new_epoch
        self.next_due = int(fields[b"next_due"]) if fields.get(b"next_due") else None
        self.since = self._find_since(fields)
        self.first_seq = self.seq

    def _count_waiting(self, fields: Mapping[bytes, bytes]) -> int:
        """Return how many events the archive does not have."""
        if fields.get(b"waiting"):
            return int(fields[b"waiting"])
        if not self.context.log_limits.has_archive:
            return 0
        return read_stream(self.context.keyspace, self.context.get_key(EVENTS)).length

    def _find_since(self, fields: Mapping[bytes, bytes]) -> int:
        """Return the instant since which no record was lost."""
        is_set_back = self.context.now + CLOCK_STEP_MS < int(fields.get(b"clock", 0))
        if self.is_new_epoch or is_set_back or b"since" not in fields:
            return self.context.now
        return int(fields[b"since"])

    def begin_epoch(self, event: SignedEvent) -> None:
        """Begin to count from one, with the event of the epoch."""
        self.ms = max(self.context.now, self.last_ms + 1)
        self.epoch, self.seq = self.ms, 0
        self.append_event(EVENTS, event)

    def append_event(
        self, stream_index: int, event: SignedEvent, stamp: dict[str, Any] | None = None
    ) -> None:
        """Append an event to a stream of the partition."""
        self.seq += 1
        self.waiting += stream_index == EVENTS
        keyspace, key = self.context.keyspace, self.context.get_key(stream_index)
        fields = (
            b"event", event.body.encode(), b"mac", event.mac.encode(), b"epoch", b"%d" % self.epoch,
            b"stamp", encode_stamp(stamp) if stamp else b"",
        )  # fmt: skip
        try:
            appended = read_stream(keyspace, key).append((self.ms, self.seq), fields)
        except ValueError as error:
            raise ErrorReply("ERR The ID specified in XADD is equal or smaller") from error
        keyspace.replace(key, appended)

    def close(self) -> None:
        """Write the state of the log. Trims the streams if that is due."""
        context = self.context
        if self._has_trim_due():
            self._trim_streams()
            self.trimmed_at = context.now
        has_archive = context.log_limits.has_archive
        key = context.get_key(LOG)
        changed = {
            b"server": self.server,
            b"epoch": b"%d" % self.epoch,
            b"seq": b"%d" % self.seq,
            b"ms": b"%d" % self.ms,
            b"unrecorded": b"%d" % self.unrecorded,
            b"waiting": b"%d" % self.waiting if has_archive else b"",
            b"trimmed_at": b"%d" % self.trimmed_at,
            b"next_due": b"" if self.next_due is None else b"%d" % self.next_due,
            b"since": b"%d" % self.since,
            b"clock": b"%d" % context.now,
        }
        set_fields(context.keyspace, key, changed)

    def _has_trim_due(self) -> bool:
        since_ms = self.context.now - self.trimmed_at
        return (
            self.is_trim_due
            or not 0 <= since_ms < TRIM_INTERVAL_MS
            or self.first_seq // TRIM_INTERVAL_ENTRIES < self.seq // TRIM_INTERVAL_ENTRIES
        )

    def _trim_streams(self) -> None:
        """Trim by age and count, without what the archive does not have, and let streams expire."""
        context, keyspace, limits = self.context, self.context.keyspace, self.context.log_limits
        oldest = context.now - limits.retention_ms
        expires_at = context.keyspace.clock() + limits.retention_ms + TRIM_INTERVAL_MS
        if limits.has_archive:
            oldest, expires_at = min(oldest, self.archived_ms), 0
        for index in (EVENTS, REFUSALS):
            key = context.get_key(index)
            if keyspace.get(key) is not None:
                stream = read_stream(keyspace, key)
                keyspace.put(key, stream.trim_before((oldest, 0), is_approximate=True), expires_at)
        key = context.get_key(EVENTS)
        if keyspace.get(key) is not None:
            limit = limits.max_stream_entries
            max_entries = max(limit, self.waiting) if limits.has_archive else limit
            stream = read_stream(keyspace, key)
            keyspace.replace(key, stream.trim_to(max_entries, is_approximate=True))


def open_log(context: CommitContext) -> bool:
    """Open the log, in a new epoch if need be. Return False if the call has no event for one."""
    log = EventLog(context)
    if log.is_new_epoch:
        if context.request.epoch_event is None:
            return False
        context.log = log
        log.begin_epoch(context.request.epoch_event)
    context.log = log
    return True


def encode_stamp(stamp: dict[str, Any]) -> bytes:
    """Return what Redis's cjson writes, which has fourteen digits of a number, in another order."""
    return _encode_stamp({name: _round_number(value) for name, value in stamp.items()})


def _round_number(value: Any) -> Any:
    if isinstance(value, int) and value >= 10**_EXACT_DIGITS:
        return float(f"{value:.{_EXACT_DIGITS}g}")
    return value
