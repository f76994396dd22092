"""Who of several sealers leads: a lease in Redis, counted by this process's own clock."""

from collections.abc import Callable

from otp_service.audit.sealer.ports import ArchiveSource


LEASE_MS = 4000
"""Milliseconds after which somebody else takes over from a leader who is silent."""

LEASE_RENEWAL_SECONDS = 1.0
"""Seconds between two times that the leader says that he lives."""


class Lease:
    """The lease of one sealer; `clock` goes on while the process is stopped."""

    def __init__(self, source: ArchiveSource, holder: str, clock: Callable[[], float]) -> None:
        self.fence = 0
        """Of what lease it is; 0 if of none."""
        self.holder = holder
        self._source = source
        self._clock = clock
        self._expires_at = self._renew_at = 0.0

    @property
    def is_held(self) -> bool:
        """Whether nobody else can have it now."""
        return self.fence > 0 and self._clock() < self._expires_at

    @property
    def is_renewal_due(self) -> bool:
        """Whether it has to be asked for."""
        return not self.is_held or self._clock() >= self._renew_at

    async def acquire_or_renew(self, floor: int, status: bytes) -> None:
        """Take or keep it, with a fence over `floor` if it is a new one. Raises StoreUnavailable."""
        asked = self._clock()
        self.fence = await self._source.acquire_lease(
            self.holder, LEASE_MS, floor=floor, status=status
        )
        self._expires_at, self._renew_at = asked + LEASE_MS / 1000, asked + LEASE_RENEWAL_SECONDS

    async def release(self, status: bytes) -> None:
        """Let somebody else have it at once. Raises StoreUnavailable."""
        self.fence, held = 0, self.fence
        if held:
            await self._source.acquire_lease(self.holder, 0, floor=0, status=status)

    def mark_lost(self) -> None:
        """Be no leader any more, whoever is."""
        self.fence = 0
