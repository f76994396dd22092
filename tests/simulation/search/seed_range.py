"""Judges a range of seeds on several processes, in order."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from threading import Thread
from typing import Final, NamedTuple, Self

from tests.simulation.search.shrinker import shrink_seed
from tests.simulation.search.verdict import judge_seed


CHUNK_SEEDS: Final = 25
"""What a process judges at a time: about a second of work."""


class Chunk(NamedTuple):
    """Some seeds that were judged, with those that have failed and the rules that they break."""

    first: int
    end: int
    failures: dict[int, list[str]]


ChunkJudge = Callable[[int, int], Chunk]
"""By the first seed, and how many there are."""


class SeedPool:
    """Processes that judge seeds. Use it as a context manager; its end leaves none of them."""

    def __init__(self, processes: int) -> None:
        self._processes = processes
        # A fresh interpreter for each: nothing of this one has an effect on a run.
        self._executor = ProcessPoolExecutor(
            processes, mp_context=get_context("spawn"), initializer=end_with_parent
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._executor.shutdown(cancel_futures=True)

    def judge_range(
        self, first: int, end: int, is_due: Callable[[], bool], judge: ChunkJudge | None = None
    ) -> Iterator[Chunk]:
        """Yield the seeds from `first` until `end` in order, until `is_due` says that time is over.

        `judge` judges a chunk in a process of its own instead of `judge_chunk`.
        """
        pending: deque[Future[Chunk]] = deque()
        starts = iter(range(first, end, CHUNK_SEEDS))
        while True:
            while len(pending) < 2 * self._processes and not is_due():
                start = next(starts, None)
                if start is None:
                    break
                count = min(CHUNK_SEEDS, end - start)
                pending.append(self._executor.submit(judge or judge_chunk, start, count))
            if not pending:
                return
            yield pending.popleft().result()

    def shrink(self, seed: int, rule: str) -> str:
        """Return the timeline of the shortest prefix of a seed that breaks a rule."""
        return self._executor.submit(format_shortest, seed, rule).result()


def end_with_parent() -> None:
    """Let this process end with the one that has started it, also if that is killed."""

    def wait_for_end() -> None:
        if parent := parent_process():
            parent.join()
            os._exit(1)

    Thread(target=wait_for_end, daemon=True).start()


def judge_chunk(first: int, count: int) -> Chunk:
    """Judge some seeds in this process."""
    verdicts = map(judge_seed, range(first, first + count))
    failures = {verdict.seed: sorted(verdict.rules) for verdict in verdicts if verdict.violations}
    return Chunk(first, first + count, failures)


def format_shortest(seed: int, rule: str) -> str:
    """Return the timeline of the shortest prefix of a seed that breaks a rule."""
    return shrink_seed(seed, rule).format_timeline()
