"""Where else the lines and the anchors of an archive go to, beside its folder."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from otp_service.audit.seals import Anchor, anchor_of


class SinkFailed(Exception):
    """A sink has not taken what it was given; it is given once more."""


class Sink(Protocol):
    """Somewhere else that the lines go to: entries, gaps and seals, without their ends."""

    async def append(self, lines: Sequence[bytes]) -> None:
        """Have the lines, surely, or raise SinkFailed or OSError: then all of them come again."""


AnchorSink = Callable[[Anchor], Awaitable[None]]
"""Keeps anchors elsewhere, or raises SinkFailed or OSError; a newer one holds those before it."""


class Deliveries:
    """What the sinks and anchors of a sealer do not have yet, each for itself."""

    def __init__(self, sinks: Sequence[Sink], anchors: Sequence[AnchorSink]) -> None:
        self._sinks = [(sink, list[bytes]()) for sink in sinks]
        self._anchors: list[tuple[AnchorSink, list[bytes]]] = [(keep, []) for keep in anchors]

    @property
    def has_sinks(self) -> bool:
        """Whether lines go anywhere else."""
        return bool(self._sinks)

    def begin(self, seal: bytes) -> None:
        """Forget what was owed; the last seal's line (or nothing) they may never have got."""
        for _, owed in (*self._sinks, *self._anchors):
            owed.clear()
        if seal:
            self.owe_seal(seal)

    def owe(self, lines: Sequence[bytes]) -> None:
        """Have lines to give to every sink."""
        for _, owed in self._sinks:
            owed.extend(lines)

    def owe_seal(self, line: bytes) -> None:
        """Have a seal to give, and its anchor."""
        self.owe([line])
        for _, owed in self._anchors:
            owed[:] = [line]

    async def give_lines(self) -> None:
        """Give every sink what it lacks. Raises SinkFailed, after all were tried."""
        await _each([(sink.append, owed) for sink, owed in self._sinks])

    async def give_anchors(self) -> None:
        """Give every anchor the newest seal. Raises SinkFailed, after all were tried."""
        await _each([(_anchored(keep), owed) for keep, owed in self._anchors])


async def _each(
    given: Sequence[tuple[Callable[[Sequence[bytes]], Awaitable[None]], list[bytes]]],
) -> None:
    failed: Exception | None = None
    for give, owed in given:
        try:
            if owed:
                await give(tuple(owed))
                owed.clear()
        except (SinkFailed, OSError) as error:
            failed = error
    if failed:
        raise SinkFailed(getattr(failed, "strerror", None) or str(failed)) from failed


def _anchored(keep: AnchorSink) -> Callable[[Sequence[bytes]], Awaitable[None]]:
    return lambda lines: keep(anchor_of(lines[-1]))
