"""What a sealer asks of where the entries are, and what it tells there of itself."""

from collections.abc import Collection, Sequence
from typing import Protocol

import msgspec

from otp_service.core.entry import Mark, Tail


class Source(Protocol):
    """Where the entries are. Every method raises StoreUnavailable."""

    async def lease(self, holder: str, milliseconds: int, *, floor: int, told: bytes) -> int:
        """Take or keep the lease; return its fence, which is over `floor`, or 0."""

    async def tails(
        self, partitions: Collection[int], *, count: int, anew: bool = False
    ) -> list[Tail]:
        """Return what is not archived of each partition, or `anew` what there is."""

    async def mark(self, fence: int, marks: Sequence[Mark]) -> None:
        """Note how far the archive has come."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What the leader tells of himself, for metrics; counts are since he took over."""

    seal: int = 0
    sealed_at: str = ""
    unsealed: int = 0
    """When the oldest entry was told that is archived and not sealed; 0 if there is none."""
    archived: int = 0
    missing: int = 0
    failed: int = 0
    anchored_at: int = 0
    """When the newest seal's anchor was kept elsewhere, in milliseconds; 0 if none was yet."""
    trouble: str = ""
    """What keeps it from going on: `disk`, `sink`, `damaged`, `redis`, `fault`."""
