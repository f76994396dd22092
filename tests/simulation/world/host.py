"""A machine: its wall clock, which may be wrong and may jump, and a count of its processes."""

from collections.abc import Callable
from itertools import count


class HostClock:
    """Milliseconds since 1970 as the processes of one host read them."""

    def __init__(self, read_true_ms: Callable[[], int]) -> None:
        self._read_true_ms = read_true_ms
        self.error_ms = 0
        """What the clock is ahead of true time; negative if it is behind."""

    def read_ms(self) -> int:
        return self._read_true_ms() + self.error_ms

    def jump(self, milliseconds: int) -> None:
        """Set the clock forward, or back by a negative number."""
        self.error_ms += milliseconds


class Host:
    """One machine, by the name that the network knows it by."""

    def __init__(self, name: str, read_true_ms: Callable[[], int]) -> None:
        self.name = name
        self.clock = HostClock(read_true_ms)
        self._process_numbers = count(1)

    def count_process(self) -> int:
        """Return the number of a new process, so that each draws other random numbers."""
        return next(self._process_numbers)
