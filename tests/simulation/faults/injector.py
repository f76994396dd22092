"""Begins faults and ends them, and records both."""

import asyncio
from collections.abc import Callable
from typing import Final

from tests.simulation.archive.site import ArchiveSite
from tests.simulation.history import FaultKind
from tests.simulation.kernel.chance import Chance
from tests.simulation.kernel.network import SimulatedNetwork
from tests.simulation.redis_model.redis_site import RedisSite
from tests.simulation.world.world import World


SHORTEST_SECONDS: Final = 0.002
"""So long a fault lasts at least: longer than a millisecond, in which records have their instants."""


class FaultInjector:
    """The faults of one run. One that lasts ends after a drawn time, or with `end_all`."""

    def __init__(
        self, chance: Chance, network: SimulatedNetwork, redis: RedisSite, world: World
    ) -> None:
        self.chance = chance
        self.network = network
        self.redis = redis
        self.world = world
        self.loop = network.loop
        self.archive: ArchiveSite | None = None
        self._active: dict[str, tuple[int, Callable[[], None]]] = {}
        """By what is at fault: the index of the record, and what ends it."""
        self._is_over = False

    def strike(
        self, fault: Callable[["FaultInjector"], None], chance: Chance | None = None
    ) -> None:
        """Let a fault happen with draws of its own, unless the run has come to its calm end."""
        if not self._is_over:
            self.chance = chance or self.chance
            fault(self)

    def get_archive(self) -> ArchiveSite:
        """Return the archive of a run that has one."""
        assert self.archive
        return self.archive

    def record_instant(
        self, kind: FaultKind, target: str = "", *, lost_writes: int = 0, jump_ms: int = 0
    ) -> None:
        """Record a fault without a duration."""
        recorder = self.world.recorder
        index = recorder.start_fault(kind, target, lost_writes=lost_writes, jump_ms=jump_ms)
        recorder.end_fault(index)

    def begin(  # noqa: PLR0913  # a fault, its end, and what is recorded of it
        self,
        kind: FaultKind,
        target: str,
        start: Callable[[], None],
        end: Callable[[], None],
        *,
        longest_ms: int,
        jump_ms: int = 0,
    ) -> None:
        """Start a fault that lasts for a drawn time. Does nothing if its target has one already."""
        name = f"{kind}: {target}"
        if name in self._active:
            return
        index = self.world.recorder.start_fault(kind, target, jump_ms=jump_ms)
        self._active[name] = (index, end)
        start()
        seconds = self.chance.draw_ms(1, longest_ms) / 1000
        self.loop.call_later(seconds, self._end, name, index)

    def end_on(self, target: str) -> None:
        """End every fault of a target, before one that does not go together with them."""
        for name, (index, _) in list(self._active.items()):
            if name.endswith(f": {target}"):
                self._end(name, index)

    async def end_all(self) -> None:
        """Let no fault follow, and end each one that lasts, in the order of their beginning.

        That takes a moment: the record of a clock that is set and at once set right would be that of one
        that stays wrong.
        """
        self._is_over = True
        await asyncio.sleep(SHORTEST_SECONDS)
        for name, (index, _) in list(self._active.items()):
            self._end(name, index)

    def _end(self, name: str, index: int) -> None:
        if self._active.get(name, (None,))[0] == index:
            _, end = self._active.pop(name)
            end()
            self.world.recorder.end_fault(index)
