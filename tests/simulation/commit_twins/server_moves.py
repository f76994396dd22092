"""What happens to the server: time, restarts, losses. Each draws its details from a seeded `Random`."""

from random import Random

from msgspec.structs import replace

from otp_service.core.timestamps import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from tests.simulation.commit_twins.player import Player


async def pass_time(player: Player, random: Random) -> None:
    """Time passes, for decisions and for expiries."""
    spans = (1, SECOND_MS, 30 * SECOND_MS, MINUTE_MS, 10 * MINUTE_MS, HOUR_MS, DAY_MS, 91 * DAY_MS)
    span = random.randint(0, random.choice(spans))
    player.pass_time(span)


async def wait_exactly(player: Player, random: Random) -> None:
    """Wait as long as the last refusal said, or a millisecond less, and try again."""
    if player.last_refused:
        commit, wait_ms = player.last_refused
        player.pass_time(wait_ms - random.choice((0, 0, 1)))
        await player.commit(replace(commit, operation_id=player.name_next()))


async def reach_edge(player: Player, random: Random) -> None:
    """Let time pass until a record, a unit or a fold is exactly as old as a period, or nearly."""
    periods = (30, 60, 100, 300, 3600, 14_400, 86_400, 90 * 86_400)
    instants = [at for _, at in player.commits[-8:]]
    if instants:
        edge = random.choice(instants) + random.choice(periods) * SECOND_MS
        player.pass_time(max(0, edge + random.choice((-1, 0, 0, 1)) - player.now))


async def set_clock_back(player: Player, random: Random) -> None:
    """The clock of the server was ahead, for decisions and for expiries."""
    span = random.randint(0, random.choice((SECOND_MS, 2 * MINUTE_MS, 26 * HOUR_MS)))
    player.pass_time(-span)


async def shift_clock(player: Player, random: Random) -> None:
    """Decisions have another time than expiries."""
    player.shift_ms += random.randint(-5 * SECOND_MS, 5 * SECOND_MS)


async def restart(player: Player, random: Random) -> None:  # noqa: ARG001  # has no details
    player.client.restart()


async def lose_key(player: Player, random: Random) -> None:
    """A key is lost, for example with the tail of a log at a failover."""
    if keys := player.client.keyspace.list_keys():
        player.client.delete_key(random.choice(keys))
