"""What the leader tells of himself: numbers for metrics, and to the log what is not as it should be."""

import logging
from collections.abc import Sequence

import msgspec

from otp_service.audit.sealer.partition_lines import PartitionLines
from otp_service.audit.sealer.ports import SealerStatus
from otp_service.audit.sealer.state import ArchiveState


logger = logging.getLogger(__name__)


class StatusReporter:
    """Keeps what is told; of a trouble the log hears once, until it is over."""

    def __init__(self) -> None:
        self.status = SealerStatus()
        self._last_trouble = ""

    @property
    def encoded_status(self) -> bytes:
        """What is told, for the lease."""
        return msgspec.json.encode(self.status)

    def reset_status(self, state: ArchiveState) -> None:
        """Count from here on."""
        self.status = SealerStatus()
        self.record_state(state)

    def record_state(self, state: ArchiveState) -> None:
        """Tell where the archive stands."""
        self._update_status(
            seal=state.seal_number,
            sealed_at=state.sealed_at,
            oldest_unsealed_at=state.oldest_unsealed_at or 0,
        )

    def count_archived(self, partition_lines: Sequence[PartitionLines], line_count: int) -> int:
        """Count what was archived; return how many entries were missing of it."""
        missing, failed = (
            sum(t.missing for t in partition_lines),
            sum(t.failed for t in partition_lines),
        )
        self._update_status(
            archived=self.status.archived + line_count,
            missing=self.status.missing + missing,
            failed=self.status.failed + failed,
        )
        if failed:
            logger.error("%d entries of the log carry no MAC of ours", failed)
        if missing:
            logger.error("%d entries of the log are missing, which the archive declares", missing)
        return missing

    def record_anchored(self, now: int) -> None:
        """Tell that the newest anchor is kept elsewhere since `now` (milliseconds)."""
        self._update_status(anchored_at=now)

    def report_trouble(self, kind: str, text: str, dedupe_key: str = "") -> None:
        """Tell once, not each time, what keeps the archive from going on."""
        self._update_status(trouble=kind)
        if self._last_trouble != (dedupe_key or text):
            logger.error("%s", text)
        self._last_trouble = dedupe_key or text

    def clear_trouble(self) -> None:
        """Tell that nothing keeps it from that any more."""
        if self._last_trouble:
            logger.info("the archive goes on")
            self._update_status(trouble="")
            self._last_trouble = ""

    def _update_status(self, **changes: int | str) -> None:
        self.status = msgspec.structs.replace(self.status, **changes)
