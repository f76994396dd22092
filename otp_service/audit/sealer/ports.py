"""What a sealer needs: where the entries are, clocks, and where lines go besides."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Protocol

import msgspec

from otp_service.audit.sealer.partition_lines import MacVerifier
from otp_service.audit.sinks.base import Sink
from otp_service.core.log_entry import ArchivedPosition, PendingEntries


class ArchiveSource(Protocol):
    """Where the entries are. Every method raises StoreUnavailable."""

    async def acquire_lease(
        self, holder: str, milliseconds: int, *, floor: int, status: bytes
    ) -> int:
        """Take or keep the lease; return its fence, which is over `floor`, or 0."""

    async def fetch_pending(
        self, partitions: Collection[int], *, count: int, from_start: bool = False
    ) -> list[PendingEntries]:
        """Return what is not archived of each partition, or `anew` what there is."""

    async def mark_archived(self, fence: int, positions: Sequence[ArchivedPosition]) -> None:
        """Note how far the archive has come."""


class SealerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What the leader tells of himself, for metrics; counts are since he took over."""

    seal: int = 0
    sealed_at: str = ""
    oldest_unsealed_at: int = 0
    """When the oldest entry was told that is archived and not sealed; 0 if there is none."""
    archived: int = 0
    missing: int = 0
    failed: int = 0
    anchored_at: int = 0
    """When the newest seal's anchor was kept elsewhere, in milliseconds; 0 if none was yet."""
    trouble: str = ""
    """What keeps it from going on: `disk`, `sink`, `damaged`, `redis`, `fault`."""


class SealerEnvironment(msgspec.Struct, frozen=True, kw_only=True):
    """What the sealer is given of the world."""

    holder: str
    """A name that nobody else has."""
    now: Callable[[], int]
    """Milliseconds since 1970."""
    clock: Callable[[], float]
    """Seconds, which go on while the process is stopped."""
    has_valid_mac: MacVerifier
    record_archive_change: Callable[[str, int], Awaitable[None]]
    """Appends the event of a reason; of a `gap` with how many entries are missing, of what was
    `dropped` with the number of the last seal."""
    retention_ms: int | None = None
    """Milliseconds after which segments are dropped; None keeps them."""
    sinks: tuple[Sink, ...] = ()
    """They have every line before it is marked in Redis."""
    anchor_sinks: tuple[Sink, ...] = ()
    """Where a line goes for each seal; of what it misses, it gets only the newest."""
