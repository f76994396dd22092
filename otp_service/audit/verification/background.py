"""Verification of this machine's archive for the audit page: one run at a time, in a thread.

Each run reads the whole archive, because what was right an hour ago may have been changed since.
A run starts on a request, and takes at most a twentieth of a core over time.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from threading import Event

import msgspec

from otp_service.audit.archive_format.seals import Anchor, PublicKey
from otp_service.audit.verification.findings import VerificationReport
from otp_service.audit.verification.verifier import verify_folder
from otp_service.core.timestamps import MINUTE_MS


logger = logging.getLogger(__name__)

VERIFICATION_INTERVAL_MS = 10 * MINUTE_MS
"""The shortest time between the starts of two runs that only a page view asks for."""

MIN_IDLE_FACTOR = 20
"""The same time, as a multiple of what the last run took."""


class VerificationRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run that has ended."""

    started_at: int
    """Milliseconds since 1970."""
    duration_ms: int
    report: VerificationReport | None
    error: str | None
    """Why nothing could be verified."""


class BackgroundVerifier:
    """Verifies the archive in a folder with the keys that `keys` reads; it may raise ValueError.

    The last verified seal is an anchor for every later run, so a tail that is cut off while this
    process runs is found without another anchor.
    """

    def __init__(
        self, folder: Path, keys: Callable[[], Sequence[PublicKey]], now: Callable[[], int]
    ) -> None:
        self.last_run: VerificationRun | None = None
        self.folder = folder
        self._keys = keys
        self._now = now
        self._anchor: Anchor | None = None
        self._stop = Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        return self._task is not None and not self._task.done()

    def start_run(self) -> None:
        """Start a run, unless one is running."""
        if not self.is_running and not self._stop.is_set():
            self._task = asyncio.get_running_loop().create_task(self._verify_archive())

    def start_if_due(self) -> None:
        """Start a run if the last one began long enough ago."""
        last = self.last_run
        if last is None or self._now() - last.started_at >= max(
            VERIFICATION_INTERVAL_MS, MIN_IDLE_FACTOR * last.duration_ms
        ):
            self.start_run()

    async def wait_until_done(self) -> None:
        if self._task is not None:
            await self._task

    async def aclose(self) -> None:
        """Stop the current run, and start no other."""
        self._stop.set()
        await self.wait_until_done()

    async def _verify_archive(self) -> None:
        started_at = self._now()
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
            trouble = f"verification failed: {type(error).__name__}"
        if report and report.verified:
            anchors = filter(None, (self._anchor, report.verified))
            self._anchor = max(anchors, key=lambda anchor: anchor.number)
        duration = self._now() - started_at
        self.last_run = VerificationRun(
            started_at=started_at, duration_ms=duration, report=report, error=trouble
        )

    def _build_report(self) -> VerificationReport:
        if not self.folder.is_dir():
            raise ValueError(f"{self.folder} is not a folder")
        anchors = [self._anchor] if self._anchor else []
        return verify_folder(self.folder, self._keys(), anchors, wrap_lines=self._iterate_lines)

    def _iterate_lines(self, lines: Iterable[bytes]) -> Iterator[bytes]:
        for line in lines:
            if self._stop.is_set():
                raise _VerificationStopped
            yield line


class _VerificationStopped(Exception):
    """The process ends, and nothing waits for the result."""
