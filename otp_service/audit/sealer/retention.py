"""What of an archive its retention has ended for: found now and then, stated by a seal, deleted.

Whoever is killed in between leaves an archive that verifies; the next one finds the same again.
"""

import logging

from otp_service.audit.archive_format.seals import DroppedPrefix
from otp_service.audit.sealer.archive_writer import ArchiveWriter


RETENTION_CHECK_INTERVAL_SECONDS = 3600.0
"""Seconds between two looks."""

logger = logging.getLogger(__name__)


class RetentionJob:
    """Retires one archive's segments; `retention` is in milliseconds, and None keeps them all."""

    def __init__(self, writer: ArchiveWriter, retention_ms: int | None) -> None:
        self.expired: DroppedPrefix | None = None
        """What the next seal is to state."""
        self.declared: DroppedPrefix | None = None
        """What one has stated, and is to be deleted."""
        self._writer = writer
        self._retention_ms = retention_ms
        self._check_at = 0.0

    def is_due(self, clock: float) -> bool:
        """Whether it is time to look, by a clock in seconds."""
        return self._retention_ms is not None and clock >= self._check_at

    def find_expired(self, clock: float, now: int) -> DroppedPrefix | None:
        """Return what is found at `now` (milliseconds). Raises OSError."""
        assert self._retention_ms is not None  # is_due
        self._check_at = clock + RETENTION_CHECK_INTERVAL_SECONDS
        self.expired = self._writer.find_expired(now - self._retention_ms)
        return self.expired

    def mark_declared(self) -> None:
        """Take what was found as stated: the seal is on the disk."""
        self.declared, self.expired = self.expired or self.declared, None

    def delete_declared(self) -> None:
        """Delete what is stated. Raises as `ArchiveWriter.take` does."""
        if self.declared:
            self._writer.delete_segments(self.declared)
            number, self.declared = self.declared.number, None
            logger.info("the archive up to seal %d is deleted: its retention has ended", number)
