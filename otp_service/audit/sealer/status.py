"""The status of the leader: numbers for metrics, and problems for the log."""

import logging
from collections.abc import Sequence

import msgspec

from otp_service.audit.sealer.partition_lines import PartitionLines
from otp_service.audit.sealer.state import ArchiveDamagedError, ArchiveState
from otp_service.audit.sinks.base import SinkError


logger = logging.getLogger(__name__)


class SealerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the leader reports in its lease; counts begin when it becomes the leader."""

    seal: int = 0
    sealed_at: str = ""
    oldest_unsealed_at: int = 0
    """The time of the oldest archived entry that is not sealed (ms since 1970); 0 if all are."""
    archived: int = 0
    missing: int = 0
    failed: int = 0
    anchored_at: int = 0
    """The time of the last delivery of an anchor (ms since 1970); 0 before the first."""
    trouble: str = ""
    """The current problem: `disk`, `sink`, `damaged`, `redis`, `fault`, or empty."""


class StatusReporter:
    """Keeps the status, and logs each problem once until it is over."""

    def __init__(self) -> None:
        self.status = SealerStatus()
        self._last_trouble = ""

    @property
    def encoded_status(self) -> bytes:
        return msgspec.json.encode(self.status)

    def reset_status(self, state: ArchiveState) -> None:
        """Begin the counts at 0."""
        self.status = SealerStatus()
        self.record_state(state)

    def record_state(self, state: ArchiveState) -> None:
        self._update_status(
            seal=state.seal_number,
            sealed_at=state.sealed_at,
            oldest_unsealed_at=state.oldest_unsealed_at or 0,
        )

    def count_archived(self, partition_lines: Sequence[PartitionLines], line_count: int) -> int:
        """Count archived lines; return the number of entries that were missing."""
        missing = sum(p.missing for p in partition_lines)
        failed = sum(p.failed for p in partition_lines)
        self._update_status(
            archived=self.status.archived + line_count,
            missing=self.status.missing + missing,
            failed=self.status.failed + failed,
        )
        if failed:
            logger.error("%d entries of the log have no valid MAC", failed)
        if missing:
            logger.error("%d entries of the log are missing; the archive declares a gap", missing)
        return missing

    def record_anchored(self, now: int) -> None:
        """Record that the newest anchor is delivered at `now` (ms since 1970)."""
        self._update_status(anchored_at=now)

    def report_error(self, error: Exception) -> None:
        """Report an error that the next turn may overcome."""
        match error:
            case BlockingIOError():
                self.report_trouble("disk", "another process is writing to the archive")
            case OSError():
                where = f" ({error.filename})" if error.filename else ""
                text = f"the archive cannot be written: {error.strerror}{where}"
                self.report_trouble("disk", text)
            case ArchiveDamagedError():
                self.report_trouble("damaged", f"the archive cannot be continued: {error}")
            case SinkError():
                self.report_trouble("sink", f"a sink does not take the lines: {error}", "sink")
            case _:  # StoreUnavailable
                self.report_trouble("redis", "Redis does not answer, so nothing is archived")

    def report_trouble(self, kind: str, text: str, dedupe_key: str = "") -> None:
        """Set the problem, and log it unless the last one has the same key (default: the text)."""
        self._update_status(trouble=kind)
        if self._last_trouble != (dedupe_key or text):
            logger.error("%s", text)
        self._last_trouble = dedupe_key or text

    def clear_trouble(self) -> None:
        if self._last_trouble:
            logger.info("archiving has resumed")
            self._update_status(trouble="")
            self._last_trouble = ""

    def _update_status(self, **changes: int | str) -> None:
        self.status = msgspec.structs.replace(self.status, **changes)
