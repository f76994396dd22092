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
from otp_service.audit.archive_format.seals import Anchor, PublicKey, newest
from otp_service.audit.verification.findings import Report
from otp_service.audit.verification.verifier import Segment, verify


logger = logging.getLogger(__name__)

SELDOM = 600_000
"""Milliseconds for which what was verified is good enough for whoever only looks."""

SHARE = 20
"""And for so many times as long as it took."""


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """One run, to its end."""

    at: int
    """When it began, in milliseconds."""
    took: int
    report: Report | None
    trouble: str | None
    """Why nothing could be verified."""


class Verifications:
    """Verifies the archive in a folder with the keys that `keys` reads, which may raise ValueError.

    What was sound once is an anchor for every later run: a tail that is cut off while this process
    lives is found without any other.
    """

    def __init__(
        self, folder: Path, keys: Callable[[], Sequence[PublicKey]], now: Callable[[], int]
    ) -> None:
        self.last: Verified | None = None
        self._folder = folder
        self._keys = keys
        self._now = now
        self._anchor: Anchor | None = None
        self._stop = Event()
        self._run: asyncio.Task[None] | None = None

    @property
    def is_running(self) -> bool:
        """Whether one is under way."""
        return self._run is not None and not self._run.done()

    def start(self) -> None:
        """Begin, unless one is under way."""
        if not self.is_running and not self._stop.is_set():
            self._run = asyncio.get_running_loop().create_task(self._verify())

    def start_if_due(self) -> None:
        """Begin, if the last one is too long ago."""
        last = self.last
        if last is None or self._now() - last.at >= max(SELDOM, SHARE * last.took):
            self.start()

    async def done(self) -> None:
        """Wait for the one that is under way."""
        if self._run is not None:
            await self._run

    async def aclose(self) -> None:
        """End the one that is under way, and begin no other."""
        self._stop.set()
        await self.done()

    async def _verify(self) -> None:
        at = self._now()
        report, trouble = None, None
        try:
            report = await asyncio.to_thread(self._report)
        except OSError as error:
            trouble = f"cannot read {error.filename}: {error.strerror}"
        except ValueError as error:
            trouble = str(error)
        except _Stopped:
            return
        except Exception as error:
            logger.exception("the archive was not verified")
            trouble = f"it cannot be verified: {type(error).__name__}"
        if report and report.verified:
            self._anchor = newest(filter(None, (self._anchor, report.verified)))
        self.last = Verified(at=at, took=self._now() - at, report=report, trouble=trouble)

    def _report(self) -> Report:
        folder = self._folder
        if not folder.is_dir():
            raise ValueError(f"{folder} is no folder here")
        read = [
            Segment(
                path.relative_to(folder).as_posix(),
                segments.day_of(path),
                segments.number_of(path),
                self._lines(path),
            )
            for path in segments.segments(folder)
        ]
        anchors = [self._anchor] if self._anchor else []
        return verify(read, self._keys(), anchors, foreign=segments.foreign(folder))

    def _lines(self, path: Path) -> Iterator[bytes]:
        for line in segments.whole_lines(path):
            if self._stop.is_set():
                raise _Stopped
            yield line


class _Stopped(Exception):
    """The process ends, and nobody waits for what is verified."""
