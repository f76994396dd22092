"""A search through many seeds: what it prints, and what it keeps."""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from tests.simulation.search.progress import FOLDER, Progress, ProgressFile
from tests.simulation.search.seed_range import Chunk, SeedPool


REPORT_SECONDS: Final = 10.0
"""Between two lines about the progress."""

Print = Callable[[str], object]


class SearchRequest(NamedTuple):
    """Which seeds are judged, for how long, and on how many processes."""

    first: int
    end: int
    """The first seed after them."""
    processes: int
    minutes: float | None = None
    folder: Path | None = FOLDER
    """Where the progress is kept; None for a search that always starts again."""


class Search:
    """Goes through the seeds of a request. `write_line` gets what a person reads."""

    def __init__(self, request: SearchRequest, write_line: Print = print) -> None:
        self.request = request
        self._write_line = write_line
        self._file = ProgressFile(request.folder, request.first) if request.folder else None
        first = request.first
        self.progress = self._file.read() if self._file else Progress(first, first)
        self._known_rules: set[str] = set()
        self._started_at = self._reported_at = time.monotonic()
        self._resumed_at = self.progress.next

    def run(self) -> bool:
        """Judge the seeds that are left, and return whether all that were judged have passed."""
        request, progress = self.request, self.progress
        if progress.count:
            self._write_line(f"goes on with seed {progress.next}, after {progress.count} seeds")
        for seed, rules in progress.failures.items():
            self._write_line(f"seed {seed} failed before: {'; '.join(rules)}")
        with SeedPool(request.processes) as pool:
            for chunk in pool.judge_range(progress.next, request.end, self._is_due):
                self._take_chunk(pool, chunk)
        self._report()
        return not progress.failures

    def _is_due(self) -> bool:
        minutes = self.request.minutes
        return minutes is not None and time.monotonic() >= self._started_at + 60 * minutes

    def _take_chunk(self, pool: SeedPool, chunk: Chunk) -> None:
        """Keep what was judged, and show each failure: the first one of a rule as a timeline."""
        self.progress.next = chunk.end
        self.progress.failures.update(chunk.failures)
        if self._file:
            self._file.write(self.progress)
        for seed, rules in chunk.failures.items():
            self._write_line(f"seed {seed} FAILED: {'; '.join(rules)}")
            for rule in rules:
                if rule not in self._known_rules:
                    self._known_rules.add(rule)
                    self._write_line(pool.shrink(seed, rule))
        if time.monotonic() >= self._reported_at + REPORT_SECONDS:
            self._report()

    def _report(self) -> None:
        """Write how far the search has come, and how fast."""
        now = self._reported_at = time.monotonic()
        progress = self.progress
        rate = (progress.next - self._resumed_at) / max(now - self._started_at, 1e-9)
        self._write_line(
            f"seeds {progress.first} to {progress.next - 1}: {progress.count} of"
            f" {self.request.end - progress.first}, {len(progress.failures)} failed, {rate:.0f} seeds/s"
        )
        sys.stdout.flush()
