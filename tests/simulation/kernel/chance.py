"""All randomness of a simulated run, from one seed.

Only `random()` and `getrandbits()` of `random.Random` are used: the results of its other methods may
change from one version of Python to the next, and a committed seed has to mean the same in all.
"""

import random
from collections.abc import Sequence
from typing import Self, TypeVar

from otp_service.core.random_source import RandomSource


T = TypeVar("T")

_SPARE_BITS = 64
"""Bits drawn beyond those of a bound, so that the remainder is uniform to 2⁻⁶⁴."""


class Chance:
    """A stream of draws. The same seed gives the same draws, in each process and version of Python."""

    def __init__(self, seed: int | str) -> None:
        self.seed = seed
        self._random = random.Random(seed)  # noqa: S311  # the seed has to reproduce it
        self.draw_fraction = self._random.random
        """Return a number from 0 to 1, without 1. It is the bare method, because it is called most."""

    def derive(self, name: str) -> Self:
        """Return the stream of a part. The draws of other parts do not change it.

        It follows from the seed and the name alone, so that the same name gives the same stream again.
        """
        return type(self)(f"{self.seed}/{name}")

    def draw_below(self, bound: int) -> int:
        """Return an integer from 0 to `bound` - 1. Raises ValueError if there is none."""
        if bound < 1:
            raise ValueError("an empty range has nothing to draw")
        return self._random.getrandbits(bound.bit_length() + _SPARE_BITS) % bound

    def draw_between(self, lowest: int, highest: int) -> int:
        """Return an integer in this range, both ends included."""
        return lowest + self.draw_below(highest - lowest + 1)

    def draw_bytes(self, length: int) -> bytes:
        return self._random.getrandbits(8 * length).to_bytes(length, "big")

    def draw_ms(self, shortest: int, longest: int) -> int:
        """Return whole milliseconds in this range, both ends included."""
        return self.draw_between(shortest, longest)

    def has_luck(self, probability: float) -> bool:
        """Return true with this probability, from 0 to 1."""
        return self.draw_fraction() < probability

    def pick(self, items: Sequence[T]) -> T:
        """Return one of the items, each as often. Raises ValueError if there are none."""
        return items[self.draw_below(len(items))]

    def to_random_source(self) -> RandomSource:
        """Return the port through which the service draws codes and ids."""
        return RandomSource(self.draw_below, self.draw_bytes)
