"""Deletes the segments whose retention has ended: find them, state them in a seal, delete them.

An archive verifies after a crash at any step, and the next leader finds the same segments again.
"""

import logging

from otp_service.audit.archive_format.seals import DroppedPrefix
from otp_service.audit.sealer.archive_writer import ArchiveWriter


RETENTION_CHECK_INTERVAL_SECONDS = 3600.0

logger = logging.getLogger(__name__)


class RetentionJob:
    """Retires the segments of one archive; `retention_ms` None keeps them all."""

    def __init__(self, writer: ArchiveWriter, retention_ms: int | None) -> None:
        self.expired: DroppedPrefix | None = None
        """The segments that the next seal will state."""
        self.declared: DroppedPrefix | None = None
        """The segments that a seal has stated and that can be deleted."""
        self._writer = writer
        self._retention_ms = retention_ms
        self._check_at = 0.0

    def is_due(self, clock: float) -> bool:
        """Whether it is time for a check, by a monotonic clock in seconds."""
        return self._retention_ms is not None and clock >= self._check_at

    def find_expired(self, clock: float, now: int) -> DroppedPrefix | None:
        """Return the last seal of the segments that have expired at `now` (ms). Raises OSError."""
        assert self._retention_ms is not None  # is_due
        self._check_at = clock + RETENTION_CHECK_INTERVAL_SECONDS
        self.expired = self._writer.find_expired(now - self._retention_ms)
        return self.expired

    def mark_declared(self) -> None:
        """Note that a seal with the expired segments is on the disk."""
        self.declared, self.expired = self.expired or self.declared, None

    def delete_declared(self) -> None:
        """Delete the segments that a seal has stated. Raises as `ArchiveWriter.acquire` does."""
        if self.declared:
            self._writer.delete_segments(self.declared)
            number, self.declared = self.declared.number, None
            logger.info("the archive up to seal %d is deleted: its retention has ended", number)
