"""What goes to other places than the archive, and what each of them does not have yet.

A sink that hangs or fails holds up nothing but the marks by which Redis may forget: lines are
written and sealed meanwhile, and what it is owed is given to it again, in order, until it has it.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from otp_service.audit.archive_format.entries import GAP, SEAL, gap_on, place_on
from otp_service.audit.archive_format.segments import lines_backward, segments
from otp_service.audit.sinks.base import Sink, SinkFailed


PATIENCE = 1.0
"""Seconds for which a turn waits for all sinks together, well under a lease."""

PORTION = 256
"""Lines that are given at once: a sink that is slow comes on with each."""

MOST_AGAIN = 32_768
"""Lines that whoever led before can have kept from a sink, and more: he read no further without
marks than one reading of all streams."""


class Feed:
    """What one sink is owed."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._owed: list[bytes] = []
        self._giving: asyncio.Task[None] | None = None
        self._given = 0
        """How many of what is owed are being given."""
        self._is_late = False

    @property
    def owes(self) -> bool:
        """Whether there is something that it does not have."""
        return bool(self._owed)

    def owe(self, lines: Sequence[bytes]) -> None:
        """Have these lines go there, after those before."""
        self._owed += lines

    def owe_only(self, line: bytes) -> None:
        """Have this line go there instead of those before."""
        del self._owed[self._given :]
        self._owed.append(line)

    async def give(self) -> None:
        """Give what is owed. Raises SinkFailed, also when that takes longer than a turn may."""
        until = asyncio.get_running_loop().time() + PATIENCE
        while self._owed:
            await self._give_portion(until)

    def close(self) -> None:
        """Give no more."""
        if self._giving:
            self._giving.cancel()

    async def _give_portion(self, until: float) -> None:
        if self._giving is None:
            portion = self._owed[:PORTION]
            self._given = len(portion)
            self._giving = asyncio.create_task(self._append(portion))
        # Whoever has been waited for once does not hold up the turns after that.
        left = 0 if self._is_late else until - asyncio.get_running_loop().time()
        await asyncio.wait([self._giving], timeout=max(0, left))
        self._is_late = not self._giving.done()
        if self._is_late:
            raise SinkFailed(f"{self._sink} takes too long")
        giving, given, self._giving, self._given = self._giving, self._given, None, 0
        giving.result()
        del self._owed[:given]

    async def _append(self, lines: Sequence[bytes]) -> None:
        try:
            await self._sink.append(lines)
        except SinkFailed:
            raise
        except OSError as error:
            raise SinkFailed(f"{self._sink}: {error.strerror or type(error).__name__}") from error
        except Exception as error:  # whatever is wrong with it, the sealer goes on
            raise SinkFailed(f"{self._sink}: {type(error).__name__}") from error


async def give_all(feeds: Sequence[Feed]) -> SinkFailed | None:
    """Give every sink what it is owed; return why one does not have it."""
    found = await asyncio.gather(*(feed.give() for feed in feeds), return_exceptions=True)
    return next((one for one in found if isinstance(one, SinkFailed)), None)


def again(folder: Path, first: Mapping[tuple[int, int], int]) -> list[bytes]:
    """Return the end of an archive, from the seal on that stands before these entries.

    `first` has of each partition and epoch the first sequence that is not marked. A sink may lack
    what stands there: nothing is marked before every sink has it, and all that stood before it.
    """
    missing, found = dict(first), list[bytes]()
    for line in _backward(folder):
        found.append(line)
        if line.startswith(SEAL):
            if not missing:
                break
            continue
        partition, epoch, sequence = _begin_of(line)
        if sequence <= missing.get((partition, epoch), 0):
            del missing[partition, epoch]
        if len(found) >= MOST_AGAIN:
            break
    return found[::-1]


def _backward(folder: Path) -> Iterator[bytes]:
    for segment in reversed(segments(folder)):
        yield from lines_backward(segment)


def _begin_of(line: bytes) -> tuple[int, int, int]:
    if line.startswith(GAP):
        gap = gap_on(line)
        return gap.partition, gap.epoch, gap.first
    return place_on(line)
