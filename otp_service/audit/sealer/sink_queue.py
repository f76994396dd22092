"""The lines that a sink does not have yet.

A sink that hangs or fails delays only the marks after which Redis may trim entries: lines are
appended and sealed meanwhile, and delivered again, in order, until the sink has them.
"""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

from otp_service.audit.archive_format import entries
from otp_service.audit.archive_format.seals import decode_seal
from otp_service.audit.archive_format.segments import iterate_archive_backward
from otp_service.audit.sinks.base import Sink, SinkError


FLUSH_TIMEOUT_SECONDS = 1.0
"""Seconds that a turn waits for all sinks together; well under a lease."""

MAX_CHUNK_LINES = 256
"""Lines of one delivery, so that a slow sink makes progress with each."""

MAX_REPLAY_LINES = 32_768
"""More lines than an earlier leader can have left undelivered: it reads all streams once before it has
to mark entries as archived."""


class SinkQueue:
    """The undelivered lines of one sink."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._pending: list[bytes] = []
        self._append_task: asyncio.Task[None] | None = None
        self._in_flight = 0
        """The number of lines, first in `_pending`, that the task delivers."""
        self._is_late = False

    @property
    def has_pending(self) -> bool:
        return bool(self._pending)

    def enqueue(self, lines: Sequence[bytes]) -> None:
        self._pending += lines

    def replace_pending(self, line: bytes) -> None:
        """Deliver this line instead of those that wait."""
        del self._pending[self._in_flight :]
        self._pending.append(line)

    async def flush(self) -> None:
        """Deliver all lines. Raises SinkError, also after FLUSH_TIMEOUT_SECONDS."""
        deadline = asyncio.get_running_loop().time() + FLUSH_TIMEOUT_SECONDS
        while self._pending:
            await self._flush_chunk(deadline)

    def close(self) -> None:
        if self._append_task:
            self._append_task.cancel()

    async def _flush_chunk(self, deadline: float) -> None:
        if self._append_task is None:
            chunk = self._pending[:MAX_CHUNK_LINES]
            self._in_flight = len(chunk)
            self._append_task = asyncio.create_task(self._append_lines(chunk))
        # A sink that was late once does not delay the following turns.
        left = 0 if self._is_late else deadline - asyncio.get_running_loop().time()
        await asyncio.wait([self._append_task], timeout=max(0, left))
        self._is_late = not self._append_task.done()
        if self._is_late:
            raise SinkError(f"{self._sink} takes too long")
        task, self._append_task = self._append_task, None
        delivered, self._in_flight = self._in_flight, 0
        task.result()
        del self._pending[:delivered]

    async def _append_lines(self, lines: Sequence[bytes]) -> None:
        try:
            await self._sink.append_lines(lines)
        except SinkError:
            raise
        except OSError as error:
            raise SinkError(f"{self._sink}: {error.strerror or type(error).__name__}") from error
        except Exception as error:  # no fault of a sink stops the sealer
            raise SinkError(f"{self._sink}: {type(error).__name__}") from error


async def flush_queues(queues: Sequence[SinkQueue]) -> SinkError | None:
    """Deliver the lines of all queues; return the first failure."""
    results = await asyncio.gather(*(queue.flush() for queue in queues), return_exceptions=True)
    return next((result for result in results if isinstance(result, SinkError)), None)


def read_undelivered(folder: Path, first_sequences: Mapping[tuple[int, int], int]) -> list[bytes]:
    """Return the lines that a sink may lack: the end of an archive from the last seal before the
    first unmarked sequence of each partition and epoch. What is marked, every sink has.

    A seal without lines is the handover to another key: a leader writes it before it delivers anything,
    so the seal before it may be undelivered as well.
    """
    missing, lines = dict(first_sequences), list[bytes]()
    for line in iterate_archive_backward(folder):
        lines.append(line)
        if line.startswith(entries.SEAL_PREFIX):
            if not missing and decode_seal(line).count:
                break
            continue
        partition, epoch, sequence = _decode_first_sequence(line)
        if sequence <= missing.get((partition, epoch), 0):
            del missing[partition, epoch]
        if len(lines) >= MAX_REPLAY_LINES:
            break
    return lines[::-1]


def _decode_first_sequence(line: bytes) -> tuple[int, int, int]:
    if line.startswith(entries.GAP_PREFIX):
        gap = entries.decode_gap(line)
        return gap.partition, gap.epoch, gap.first
    return entries.sequence_id_from_line(line)
