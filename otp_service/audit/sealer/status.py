"""What the leader tells of himself: numbers for metrics, and to the log what is not as it should be."""

import logging
from collections.abc import Sequence

import msgspec

from otp_service.audit.sealer.partition_lines import Taken
from otp_service.audit.sealer.ports import Told
from otp_service.audit.sealer.state import Standing


logger = logging.getLogger(__name__)


class Telling:
    """Keeps what is told; of a trouble the log hears once, until it is over."""

    def __init__(self) -> None:
        self.told = Told()
        self._trouble = ""

    @property
    def said(self) -> bytes:
        """What is told, for the lease."""
        return msgspec.json.encode(self.told)

    def begin(self, standing: Standing) -> None:
        """Count from here on."""
        self.told = Told()
        self.learn(standing)

    def learn(self, standing: Standing) -> None:
        """Tell where the archive stands."""
        self._tell(
            seal=standing.number, sealed_at=standing.sealed_at, unsealed=standing.oldest or 0
        )

    def count(self, taken: Sequence[Taken], lines: int) -> int:
        """Count what was archived; return how many entries were missing of it."""
        missing, failed = sum(t.missing for t in taken), sum(t.failed for t in taken)
        self._tell(
            archived=self.told.archived + lines,
            missing=self.told.missing + missing,
            failed=self.told.failed + failed,
        )
        if failed:
            logger.error("%d entries of the log carry no MAC of ours", failed)
        if missing:
            logger.error("%d entries of the log are missing, which the archive declares", missing)
        return missing

    def anchored(self, now: int) -> None:
        """Tell that the newest anchor is kept elsewhere since `now` (milliseconds)."""
        self._tell(anchored_at=now)

    def stuck(self, kind: str, text: str, once: str = "") -> None:
        """Tell once, not each time, what keeps the archive from going on."""
        self._tell(trouble=kind)
        if self._trouble != (once or text):
            logger.error("%s", text)
        self._trouble = once or text

    def go_on(self) -> None:
        """Tell that nothing keeps it from that any more."""
        if self._trouble:
            logger.info("the archive goes on")
            self._tell(trouble="")
            self._trouble = ""

    def _tell(self, **changes: int | str) -> None:
        self.told = msgspec.structs.replace(self.told, **changes)
