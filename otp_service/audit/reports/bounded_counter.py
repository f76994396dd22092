"""Counters with a bound on their memory, whatever an attacker sends."""

from collections import Counter
from typing import Final, TypeVar


MAX_TRACKED_ITEMS: Final = 50_000
"""Numbers, accounts, prefixes or client IPs that are counted; more drop those with the fewest."""

T = TypeVar("T")


class BoundedCounter(Counter[T]):
    """A counter that drops the items with the fewest when there are too many."""

    def add_count(self, item: T, times: int) -> None:
        self[item] += times
        if len(self) > MAX_TRACKED_ITEMS:
            top = dict(self.most_common(MAX_TRACKED_ITEMS // 2))
            self.clear()
            self.update(top)
