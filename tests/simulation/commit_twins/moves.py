"""Every kind of call by its name, and histories of them."""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Final

from tests.simulation.commit_twins import (
    challenge_moves,
    charge_moves,
    log_moves,
    record_moves,
    server_moves,
)
from tests.simulation.commit_twins.player import REFUSALS, Player


Move = Callable[[Player, Random], Awaitable[None]]

_MODULES: Final = (challenge_moves, charge_moves, record_moves, log_moves, server_moves)

MOVES: Final[dict[str, Move]] = {
    name: move
    for module in _MODULES
    for name, move in vars(module).items()
    if inspect.iscoroutinefunction(move)
}


async def play(player: Player, seeds: Sequence[tuple[str, int]]) -> None:
    """Make the calls of a history. Raises AssertionError at the first difference."""
    for name, seed in seeds:
        try:
            await MOVES[name](player, Random(seed))  # noqa: S311  # its secrets protect nothing
        except REFUSALS as error:
            player.outcomes.append(type(error).__name__)
    player.client.compare_data()
