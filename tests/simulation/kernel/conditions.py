"""How fast and how even the network of one run is."""

from typing import NamedTuple, Self

from tests.simulation.kernel.chance import Chance


class Conditions(NamedTuple):
    """Delays of one direction in seconds. `odd_share` of all writes are split or late."""

    shortest_delay: float = 0.000_05
    longest_delay: float = 0.000_5
    odd_share: float = 0.05
    longest_odd_delay: float = 0.03
    high_water_bytes: int = 1 << 16
    """Bytes in flight beyond which a transport pauses its protocol."""

    @classmethod
    def draw(cls, chance: Chance) -> Self:
        """Return those of one run: most are calm, so that a fault is seen by itself, and some are not."""
        return cls(
            longest_delay=chance.pick((0.000_3, 0.000_5, 0.002, 0.02)),
            odd_share=chance.pick((0.0, 0.02, 0.1, 0.5)),
            longest_odd_delay=chance.pick((0.005, 0.03, 0.2)),
            high_water_bytes=chance.pick((200, 1 << 16, 1 << 20)),
        )
