"""What goes to other places than the archive, and what each of them does not have yet.

A sink that hangs or fails holds up nothing but the marks by which Redis may forget: lines are
written and sealed meanwhile, and what it is owed is given to it again, in order, until it has it.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from otp_service.audit.archive_format.entries import (
    GAP_PREFIX,
    SEAL_PREFIX,
    decode_gap,
    sequence_id_from_line,
)
from otp_service.audit.archive_format.segments import iterate_lines_backward, list_segments
from otp_service.audit.sinks.base import Sink, SinkError


FLUSH_TIMEOUT_SECONDS = 1.0
"""Seconds for which a turn waits for all sinks together, well under a lease."""

MAX_CHUNK_LINES = 256
"""Lines that are given at once: a sink that is slow comes on with each."""

MAX_REPLAY_LINES = 32_768
"""Lines that whoever led before can have kept from a sink, and more: he read no further without
marks than one reading of all streams."""


class SinkQueue:
    """What one sink is owed."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._pending: list[bytes] = []
        self._append_task: asyncio.Task[None] | None = None
        self._in_flight = 0
        """How many of what is owed are being given."""
        self._is_late = False

    @property
    def has_pending(self) -> bool:
        """Whether there is something that it does not have."""
        return bool(self._pending)

    def enqueue(self, lines: Sequence[bytes]) -> None:
        """Have these lines go there, after those before."""
        self._pending += lines

    def replace_pending(self, line: bytes) -> None:
        """Have this line go there instead of those before."""
        del self._pending[self._in_flight :]
        self._pending.append(line)

    async def flush(self) -> None:
        """Give what is owed. Raises SinkFailed, also when that takes longer than a turn may."""
        until = asyncio.get_running_loop().time() + FLUSH_TIMEOUT_SECONDS
        while self._pending:
            await self._flush_chunk(until)

    def close(self) -> None:
        """Give no more."""
        if self._append_task:
            self._append_task.cancel()

    async def _flush_chunk(self, deadline: float) -> None:
        if self._append_task is None:
            portion = self._pending[:MAX_CHUNK_LINES]
            self._in_flight = len(portion)
            self._append_task = asyncio.create_task(self._append_lines(portion))
        # Whoever has been waited for once does not hold up the turns after that.
        left = 0 if self._is_late else deadline - asyncio.get_running_loop().time()
        await asyncio.wait([self._append_task], timeout=max(0, left))
        self._is_late = not self._append_task.done()
        if self._is_late:
            raise SinkError(f"{self._sink} takes too long")
        giving, given, self._append_task, self._in_flight = (
            self._append_task,
            self._in_flight,
            None,
            0,
        )
        giving.result()
        del self._pending[:given]

    async def _append_lines(self, lines: Sequence[bytes]) -> None:
        try:
            await self._sink.append_lines(lines)
        except SinkError:
            raise
        except OSError as error:
            raise SinkError(f"{self._sink}: {error.strerror or type(error).__name__}") from error
        except Exception as error:  # whatever is wrong with it, the sealer goes on
            raise SinkError(f"{self._sink}: {type(error).__name__}") from error


async def flush_queues(queues: Sequence[SinkQueue]) -> SinkError | None:
    """Give every sink what it is owed; return why one does not have it."""
    found = await asyncio.gather(*(feed.flush() for feed in queues), return_exceptions=True)
    return next((one for one in found if isinstance(one, SinkError)), None)


def read_undelivered(folder: Path, first_sequences: Mapping[tuple[int, int], int]) -> list[bytes]:
    """Return the end of an archive, from the seal on that stands before these entries.

    `first` has of each partition and epoch the first sequence that is not marked. A sink may lack
    what stands there: nothing is marked before every sink has it, and all that stood before it.
    """
    missing, found = dict(first_sequences), list[bytes]()
    for line in _iterate_backward(folder):
        found.append(line)
        if line.startswith(SEAL_PREFIX):
            if not missing:
                break
            continue
        partition, epoch, sequence = _decode_first_sequence(line)
        if sequence <= missing.get((partition, epoch), 0):
            del missing[partition, epoch]
        if len(found) >= MAX_REPLAY_LINES:
            break
    return found[::-1]


def _iterate_backward(folder: Path) -> Iterator[bytes]:
    for segment in reversed(list_segments(folder)):
        yield from iterate_lines_backward(segment)


def _decode_first_sequence(line: bytes) -> tuple[int, int, int]:
    if line.startswith(GAP_PREFIX):
        gap = decode_gap(line)
        return gap.partition, gap.epoch, gap.first
    return sequence_id_from_line(line)
