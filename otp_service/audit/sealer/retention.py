"""What of an archive its retention has ended for: found now and then, stated by a seal, deleted.

Whoever is killed in between leaves an archive that verifies; the next one finds the same again.
"""

import logging

from otp_service.audit.archive_format.seals import Dropped
from otp_service.audit.sealer.archive_writer import Folder


LOOK = 3600.0
"""Seconds between two looks."""

logger = logging.getLogger(__name__)


class Retiring:
    """Retires one archive's segments; `retention` is in milliseconds, and None keeps them all."""

    def __init__(self, folder: Folder, retention: int | None) -> None:
        self.found: Dropped | None = None
        """What the next seal is to state."""
        self.stated: Dropped | None = None
        """What one has stated, and is to be deleted."""
        self._folder = folder
        self._retention = retention
        self._look_at = 0.0

    def is_due(self, clock: float) -> bool:
        """Whether it is time to look, by a clock in seconds."""
        return self._retention is not None and clock >= self._look_at

    def look(self, clock: float, now: int) -> Dropped | None:
        """Return what is found at `now` (milliseconds). Raises OSError."""
        assert self._retention is not None  # is_due
        self._look_at = clock + LOOK
        self.found = self._folder.expired(now - self._retention)
        return self.found

    def state(self) -> None:
        """Take what was found as stated: the seal is on the disk."""
        self.stated, self.found = self.found or self.stated, None

    def delete(self) -> None:
        """Delete what is stated. Raises as `Folder.take` does."""
        if self.stated:
            self._folder.drop(self.stated)
            number, self.stated = self.stated.number, None
            logger.info("the archive up to seal %d is deleted: its retention has ended", number)
