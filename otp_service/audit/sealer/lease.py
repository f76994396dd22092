"""Who of several sealers leads: a lease in Redis, counted by this process's own clock."""

from collections.abc import Callable

from otp_service.audit.sealer.ports import Source


LEASE = 4000
"""Milliseconds after which somebody else takes over from a leader who is silent."""

RENEWAL = 1.0
"""Seconds between two times that the leader says that he lives."""


class Lease:
    """The lease of one sealer; `clock` goes on while the process is stopped."""

    def __init__(self, source: Source, holder: str, clock: Callable[[], float]) -> None:
        self.fence = 0
        """Of what lease it is; 0 if of none."""
        self.holder = holder
        self._source = source
        self._clock = clock
        self._until = self._renew_at = 0.0

    @property
    def is_held(self) -> bool:
        """Whether nobody else can have it now."""
        return self.fence > 0 and self._clock() < self._until

    @property
    def is_due(self) -> bool:
        """Whether it has to be asked for."""
        return not self.is_held or self._clock() >= self._renew_at

    async def ask(self, floor: int, told: bytes) -> None:
        """Take or keep it, with a fence over `floor` if it is a new one. Raises StoreUnavailable."""
        asked = self._clock()
        self.fence = await self._source.lease(self.holder, LEASE, floor=floor, told=told)
        self._until, self._renew_at = asked + LEASE / 1000, asked + RENEWAL

    async def give_up(self, told: bytes) -> None:
        """Let somebody else have it at once. Raises StoreUnavailable."""
        self.fence, held = 0, self.fence
        if held:
            await self._source.lease(self.holder, 0, floor=0, told=told)

    def forget(self) -> None:
        """Be no leader any more, whoever is."""
        self.fence = 0
