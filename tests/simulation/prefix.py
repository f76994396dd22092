"""How much of a run is played: the whole of it, or a part of its calls and faults."""

from typing import Final

import msgspec


MAX_CALLS: Final = 100
"""Of the actors of a run."""


class Prefix(msgspec.Struct, frozen=True):
    """The first calls of a run, with some of its faults.

    A run with fewer calls is the same up to its last call, and then comes to rest. The other faults
    of a run do the same without one of them, as far as what it has changed lets them.
    """

    calls: int = MAX_CALLS
    """The largest number of calls of actors; a run may have fewer."""
    faults: tuple[int, ...] | None = None
    """The numbers of the faults that happen, from 0 in the order of time; None for all."""

    def has_fault(self, number: int) -> bool:
        """Return whether the fault of a number happens."""
        return self.faults is None or number in self.faults

    def format_options(self) -> str:
        """Return the options of `python -m tests.simulation` that play it."""
        options = f"--calls {self.calls}"
        if self.faults is not None:
            options += f" --faults {','.join(map(str, self.faults)) or 'none'}"
        return options


WHOLE: Final = Prefix()
