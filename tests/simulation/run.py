"""Run one seed of the simulation from its beginning to its history."""

from tests.simulation.history import History
from tests.simulation.kernel.chance import Chance
from tests.simulation.kernel.conditions import Conditions
from tests.simulation.kernel.errors import SimulationError, UnhandledError
from tests.simulation.kernel.network import SimulatedNetwork
from tests.simulation.kernel.runner import run_simulated
from tests.simulation.log_capture import LogCapture
from tests.simulation.prefix import WHOLE, Prefix
from tests.simulation.simulation import Simulation


def run_seed(seed: int, prefix: Prefix = WHOLE) -> History:
    """Return what was observed in the run of a seed. It follows from the seed and the prefix alone.

    A run that cannot go on ends early, with the reason among its unhandled errors.
    """
    chance = Chance(seed)
    simulations: list[Simulation] = []
    errors: list[str] = []

    async def run_main(network: SimulatedNetwork) -> None:
        simulation = Simulation(chance, network)
        simulations.append(simulation)
        log.read_seconds = lambda: simulation.read_true_ms() / 1000
        await simulation.run(prefix)

    conditions = Conditions.draw(chance.derive("conditions"))
    with LogCapture() as log:
        try:
            run_simulated(run_main, seed=seed, conditions=conditions)
        except SimulationError as error:
            errors.append(describe_simulation_error(error))
    (simulation,) = simulations
    try:
        return simulation.build_history(errors, log.to_stored_bytes())
    finally:
        simulation.close()


def describe_simulation_error(error: SimulationError) -> str:
    """Return the reason without addresses in memory, which differ from process to process."""
    if isinstance(error, UnhandledError):
        exception = error.context.get("exception")
        return f"{error.context.get('message')}: {type(exception).__name__}: {exception}"
    return f"{type(error).__name__}: {error}"
