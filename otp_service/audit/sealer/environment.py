"""What the sealer requires from outside: Redis, clocks, the MAC check and the sinks."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Protocol

import msgspec

from otp_service.audit.sealer.partition_lines import MacVerifier
from otp_service.audit.sinks.base import Sink
from otp_service.core.log_entry import ArchivedPosition, PendingEntries


class ArchiveSource(Protocol):
    """The event log in Redis, as the sealer uses it. Every method raises StoreUnavailable."""

    async def acquire_lease(
        self, holder: str, milliseconds: int, *, floor: int, status: bytes
    ) -> int:
        """Acquire (with a token over `floor`) or renew the lease; return its fencing token, or 0."""

    async def fetch_pending(
        self, partitions: Collection[int], *, count: int, from_start: bool = False
    ) -> list[PendingEntries]:
        """Return the first `count` entries of each stream, after its archived position unless
        `from_start`."""

    async def mark_archived(self, fence: int, positions: Sequence[ArchivedPosition]) -> None:
        """Store up to where the partitions are archived: Redis may then trim their entries."""


class SealerEnvironment(msgspec.Struct, frozen=True, kw_only=True):
    holder: str
    """The name of this process in the lease; unique."""
    now: Callable[[], int]
    """Milliseconds since 1970."""
    clock: Callable[[], float]
    """Monotonic seconds, which also pass while the process is stopped."""
    has_valid_mac: MacVerifier
    record_archive_change: Callable[[str, int], Awaitable[None]]
    """Appends the event `log.archive` with a reason and a number: the missing entries of a `gap`,
    the number of the last seal that was `dropped`."""
    retention_ms: int | None = None
    """Milliseconds after which segments are deleted; None keeps them."""
    sinks: tuple[Sink, ...] = ()
    """They get every line, before its entry is marked as archived."""
    anchor_sinks: tuple[Sink, ...] = ()
    """They get one line for each seal; after a failure only the newest."""
