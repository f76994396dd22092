"""Which faults a run has, and before which of its steps they begin."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from tests.simulation.faults import link_faults, process_faults, store_faults
from tests.simulation.faults.injector import FaultInjector
from tests.simulation.kernel.chance import Chance
from tests.simulation.kernel.loop import SimulatedLoop
from tests.simulation.prefix import WHOLE, Prefix


CALM_SHARE: Final = 0.4
"""Of the runs without a fault: in them every promise holds without an exception."""

MORE_FAULTS_SHARE: Final = 0.5
MAX_FAULTS: Final = 6

MAX_STEPS: Final = 60
"""After the start of a call, within which a fault begins: about as many steps as a call has."""

Fault = Callable[[FaultInjector], None]

FAULTS: Final[Sequence[tuple[int, Fault]]] = (
    (4, process_faults.crash_worker),
    (2, process_faults.cancel_call),
    (1, process_faults.slow_hasher),
    (2, process_faults.pause_host),
    (1, process_faults.jump_host_clock),
    (2, link_faults.cut_link),
    (2, link_faults.cut_busy_link),
    (2, link_faults.freeze_link),
    (2, link_faults.freeze_replies),
    (1, link_faults.slow_link),
    (1, link_faults.cut_off_host),
    (2, store_faults.end_process),
    (1, store_faults.freeze_process),
    (1, store_faults.fill_memory),
    (1, store_faults.fill_disk),
    (1, store_faults.fill_event_log),
    (1, store_faults.load_data),
    (1, store_faults.replace_by_empty),
    (3, store_faults.fail_over),
    (3, store_faults.stall_replicas),
    (2, store_faults.slow_replicas),
    (1, store_faults.bring_back_former),
    (1, store_faults.jump_clock),
)
"""The faults, and how often each is drawn."""


class PlannedFault(NamedTuple):
    """A fault that begins some steps of the loop after a call, with draws of its own."""

    call: int
    """The number of the call, from 0."""
    step: int
    strike: Fault
    chance: Chance


def draw_plan(chance: Chance, calls: int) -> list[PlannedFault]:
    """Return the faults of a run with so many calls, in the order of time."""
    deck = [fault for weight, fault in FAULTS for _ in range(weight)]
    if chance.has_luck(CALM_SHARE):
        return []
    plan = [
        PlannedFault(
            chance.draw_below(calls),
            chance.draw_below(MAX_STEPS),
            chance.pick(deck),
            chance.derive(f"fault {number}"),
        )
        for number in range(draw_fault_count(chance))
    ]
    return sorted(plan, key=lambda fault: fault[:2])


class FaultSchedule:
    """Lets those faults of a plan begin that the prefix has."""

    def __init__(
        self,
        faults: FaultInjector,
        loop: SimulatedLoop,
        plan: Sequence[PlannedFault],
        prefix: Prefix = WHOLE,
    ) -> None:
        self._faults = faults
        self._loop = loop
        self._planned = [one for number, one in enumerate(plan) if prefix.has_fault(number)]

    def start_call(self, number: int) -> None:
        """Set the faults of a call, which starts now: so they begin while it runs, or soon after."""
        for fault in self._planned:
            if fault.call == number:
                step = self._loop.steps + fault.step
                self._loop.call_at_step(step, self._faults.strike, fault.strike, fault.chance)


def draw_fault_count(chance: Chance) -> int:
    """Return from 1 to MAX_FAULTS, mostly a small number."""
    count = 1
    while count < MAX_FAULTS and chance.has_luck(MORE_FAULTS_SHARE):
        count += 1
    return count
