"""What a world is given: chance. A simulation and a run of real processes bring their own."""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from otp_service.core.random_source import RandomSource


T = TypeVar("T")


class Chance(Protocol):
    """Everything that is drawn in a run, from its seed."""

    def derive(self, name: str) -> "Chance":
        """Return an independent stream, so that a draw more in one part does not shift the others."""

    def draw_below(self, bound: int) -> int:
        """Return an integer from 0 to `bound` - 1."""

    def draw_fraction(self) -> float:
        """Return a number from 0 to 1, exclusive."""

    def draw_bytes(self, count: int) -> bytes: ...

    def pick(self, sequence: Sequence[T]) -> T: ...

    def draw_ms(self, shortest: int, longest: int) -> int:
        """Return a span in milliseconds, both ends included."""

    def has_luck(self, probability: float) -> bool: ...

    def to_random_source(self) -> RandomSource:
        """Return the source of random numbers of a worker."""
