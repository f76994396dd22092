"""The lease in Redis that makes one of several sealers the leader, timed by the process's clock."""

from collections.abc import Callable

from otp_service.audit.sealer.environment import ArchiveSource


LEASE_MS = 4000
"""Milliseconds after which another sealer takes over from a leader that does not renew."""

LEASE_RENEWAL_SECONDS = 1.0


class Lease:
    """The lease of one sealer; `clock` also advances while the process is stopped."""

    def __init__(self, source: ArchiveSource, holder: str, clock: Callable[[], float]) -> None:
        self.fence = 0
        """The fencing token of the lease; 0 without one."""
        self.holder = holder
        self._source = source
        self._clock = clock
        self._expires_at = self._renew_at = 0.0

    @property
    def is_held(self) -> bool:
        """Whether no other sealer can have the lease now."""
        return self.fence > 0 and self._clock() < self._expires_at

    @property
    def is_renewal_due(self) -> bool:
        return not self.is_held or self._clock() >= self._renew_at

    async def acquire_or_renew(self, floor: int, status: bytes) -> None:
        """Acquire a lease with a token greater than `floor`, or renew. Raises StoreUnavailable."""
        requested_at = self._clock()
        acquire = self._source.acquire_lease
        self.fence = await acquire(self.holder, LEASE_MS, floor=floor, status=status)
        self._expires_at = requested_at + LEASE_MS / 1000
        self._renew_at = requested_at + LEASE_RENEWAL_SECONDS

    async def release(self, status: bytes) -> None:
        """Let another sealer acquire the lease at once. Raises StoreUnavailable."""
        fence, self.fence = self.fence, 0
        if fence:
            await self._source.acquire_lease(self.holder, 0, floor=0, status=status)

    def mark_lost(self) -> None:
        """Forget the lease, without a call to Redis."""
        self.fence = 0
