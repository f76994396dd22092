"""What a sealer is given of the world: clocks, a voice, and where lines go besides."""

from collections.abc import Awaitable, Callable

import msgspec

from otp_service.audit.feeding import Sink
from otp_service.audit.sealing import IsOurs


class Outside(msgspec.Struct, frozen=True, kw_only=True):
    """What the sealer is given of the world."""

    holder: str
    """A name that nobody else has."""
    now: Callable[[], int]
    """Milliseconds since 1970."""
    clock: Callable[[], float]
    """Seconds, which go on while the process is stopped."""
    is_ours: IsOurs
    tell: Callable[[str, int], Awaitable[None]]
    """Appends the event of a reason; of a `gap` with how many entries are missing, of what was
    `dropped` with the number of the last seal."""
    retention: int | None = None
    """Milliseconds after which segments are dropped; None keeps them."""
    sinks: tuple[Sink, ...] = ()
    """They have every line before it is marked in Redis."""
    anchors: tuple[Sink, ...] = ()
    """Where a line goes for each seal; of what it misses, it gets only the newest."""
