"""How long the slot of a worker that died stays empty: a crash loop must not take all of the CPU."""

MAX_DELAY_TICKS = 30


class RestartDelays:
    """Delays by slot, in ticks. A worker that has served is replaced at once."""

    def __init__(self) -> None:
        self._failures: dict[int, int] = {}
        self._remaining: dict[int, int] = {}

    def count_death(self, slot: int, *, has_served: bool) -> None:
        """Set the delay: nothing after a worker that served, else 1, 2, 4 and so on to 30."""
        failures = 0 if has_served else self._failures.get(slot, 0) + 1
        self._failures[slot] = failures
        self._remaining[slot] = min(2 ** (failures - 1), MAX_DELAY_TICKS) if failures else 0

    def count_tick(self) -> None:
        self._remaining = {slot: max(0, left - 1) for slot, left in self._remaining.items()}

    def is_over(self, slot: int) -> bool:
        return not self._remaining.get(slot)
