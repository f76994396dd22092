"""Whether this machine's archive is sound, for whoever looks: one run at a time, in a thread.

Each run reads the whole archive, for what was right an hour ago may have been changed since; so it
is begun by somebody who asks, and at most so often that it takes a twentieth of a core.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event

import msgspec

from otp_service.audit.archive_format import segments
from otp_service.audit.archive_format.seals import Anchor, PublicKey, select_newest_anchor
from otp_service.audit.verification.findings import VerificationReport
from otp_service.audit.verification.verifier import Segment, verify_archive
from otp_service.core.timestamps import MINUTE_MS


logger = logging.getLogger(__name__)

VERIFICATION_INTERVAL_MS = 10 * MINUTE_MS
"""Milliseconds for which what was verified is good enough for whoever only looks."""

MIN_IDLE_FACTOR = 20
"""And for so many times as long as it took."""


class VerificationRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run, to its end."""

    started_at: int
    """When it began, in milliseconds."""
    duration_ms: int
    report: VerificationReport | None
    error: str | None
    """Why nothing could be verified."""


class BackgroundVerifier:
    """Verifies the archive in a folder with the keys that `keys` reads, which may raise ValueError.

    What was sound once is an anchor for every later run: a tail that is cut off while this process
    lives is found without any other.
    """

    def __init__(
        self, folder: Path, keys: Callable[[], Sequence[PublicKey]], now: Callable[[], int]
    ) -> None:
        self.last_run: VerificationRun | None = None
        self._folder = folder
        self._keys = keys
        self._now = now
        self._anchor: Anchor | None = None
        self._stop = Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        """Whether one is under way."""
        return self._task is not None and not self._task.done()

    def start_run(self) -> None:
        """Begin, unless one is under way."""
        if not self.is_running and not self._stop.is_set():
            self._task = asyncio.get_running_loop().create_task(self._verify_archive())

    def start_if_due(self) -> None:
        """Begin, if the last one is too long ago."""
        last = self.last_run
        if last is None or self._now() - last.started_at >= max(
            VERIFICATION_INTERVAL_MS, MIN_IDLE_FACTOR * last.duration_ms
        ):
            self.start_run()

    async def wait_until_done(self) -> None:
        """Wait for the one that is under way."""
        if self._task is not None:
            await self._task

    async def aclose(self) -> None:
        """End the one that is under way, and begin no other."""
        self._stop.set()
        await self.wait_until_done()

    async def _verify_archive(self) -> None:
        at = self._now()
        report, trouble = None, None
        try:
            report = await asyncio.to_thread(self._build_report)
        except OSError as error:
            trouble = f"cannot read {error.filename}: {error.strerror}"
        except ValueError as error:
            trouble = str(error)
        except _VerificationStopped:
            return
        except Exception as error:
            logger.exception("the archive was not verified")
            trouble = f"it cannot be verified: {type(error).__name__}"
        if report and report.verified:
            self._anchor = select_newest_anchor(filter(None, (self._anchor, report.verified)))
        self.last_run = VerificationRun(
            started_at=at, duration_ms=self._now() - at, report=report, error=trouble
        )

    def _build_report(self) -> VerificationReport:
        folder = self._folder
        if not folder.is_dir():
            raise ValueError(f"{folder} is no folder here")
        read = [
            Segment(
                path.relative_to(folder).as_posix(),
                segments.parse_segment_day(path),
                segments.parse_segment_number(path),
                self._iterate_lines(path),
            )
            for path in segments.list_segments(folder)
        ]
        anchors = [self._anchor] if self._anchor else []
        return verify_archive(
            read, self._keys(), anchors, foreign_files=segments.list_foreign_files(folder)
        )

    def _iterate_lines(self, path: Path) -> Iterator[bytes]:
        for line in segments.iterate_raw_lines(path):
            if self._stop.is_set():
                raise _VerificationStopped
            yield line


class _VerificationStopped(Exception):
    """The process ends, and nobody waits for what is verified."""
