"""What could be reached at best: an ordered fallback that knows what no router can know."""

from collections.abc import Sequence

from bench.simulation.episodes import Kind
from bench.simulation.policies import MakePolicy, OrderedFallback, Request, Routes
from bench.simulation.world import World


BEARABLE = {Kind.SLOW, Kind.THROTTLING}
"""No reason to go elsewhere before a refusal says so, and that sends nothing."""


class Clairvoyant(OrderedFallback):
    """Puts those who have a bad time last. Not a rival: the mark for how far a router can come."""

    def __init__(self, routes: Routes, seed: int) -> None:
        super().__init__(routes, seed)
        self._world = World(seed, logins=0)

    def order(self, request: Request) -> Sequence[str]:
        """Return all of them, the healthy ones first."""

        def is_ill(provider: str) -> bool:
            troubles = self._world.troubles(provider, request.country, request.at)
            return bool(troubles.keys() - BEARABLE)

        return sorted(super().order(request), key=is_ill)


CEILING: dict[str, MakePolicy] = {"(clairvoyant)": Clairvoyant}
