"""Calls that fill, fold, flush and archive the log. Each draws its details from a seeded `Random`."""

from collections.abc import Sequence
from random import Random

from msgspec.structs import replace

from otp_service.core.commit import Commit
from otp_service.core.events import Event, IssueDenied
from otp_service.core.timestamps import DAY_MS, MINUTE_MS
from tests.simulation.commit_twins import parts
from tests.simulation.commit_twins.player import Player


async def deny(player: Player, random: Random) -> None:
    name = player.name_next()
    await player.commit(player.build_commit(random, foldable_event=parts.draw_denial(random, name)))


async def flood(player: Player, random: Random) -> None:
    """Refusals beyond those that are appended one by one."""
    denial = parts.draw_denial(random, player.name_next())
    addresses = [f"203.0.113.{i}" for i in range(3)]
    count = random.choice((11, 14))
    events = [replace(denial, client_ip=random.choice(addresses)) for _ in range(count)]
    await player.commit_all(build_denials(player, random, events))


async def flood_sources(player: Player, random: Random) -> None:
    """Refusals of many numbers of one tenant, which fill the stream."""
    tenant = random.choice(parts.TENANTS)
    numbers = [f"1:{random.randint(0, 99)}" for _ in range(random.randint(5, 25))]
    events = [IssueDenied(id=number, tenant=tenant, number=number) for number in numbers]
    await player.commit_all(build_denials(player, random, events))


async def flush_into_little_space(player: Player, random: Random) -> None:
    """A fold becomes due while the stream of refusals has space for few entries."""
    denial = parts.draw_denial(random, player.name_next())
    events: list[Event] = [replace(denial, id=str(i)) for i in range(12)]
    await player.commit_all(build_denials(player, random, events))
    player.pass_time(MINUTE_MS)
    player.client.delete_key(player.store.key_names.event_log_keys(7)[2].encode())
    others = random.randint(1, 5)
    events = [IssueDenied(id=str(i), tenant="shop", number=f"2:{i}") for i in range(others)]
    await player.commit_all(build_denials(player, random, [*events, denial]))


def build_denials(player: Player, random: Random, events: Sequence[Event]) -> list[Commit]:
    """Return a commit for each event, which may fold."""
    return [player.build_commit(random, partition=7, foldable_event=event) for event in events]


async def append_many_events(player: Player, random: Random) -> None:
    events = parts.draw_events(random, player.name_next(), random.randint(10, 45))
    await player.commit(player.build_commit(random, partition=7, events=events))


async def flush_folds(player: Player, random: Random) -> None:
    await player.store.flush_folds(random.choice(parts.PARTITIONS), player.name_next())


async def lose_fold(player: Player, random: Random) -> None:
    """A fold is deleted by hand, and the set of those that are due still names it."""
    *_, due = player.store.key_names.event_log_keys(7)
    score = player.now + random.choice((-MINUTE_MS, MINUTE_MS, DAY_MS))
    player.client.add_member(due.encode(), b"lost", score)


async def archive(player: Player, random: Random) -> None:
    """Mark entries as archived, as `mark_archived.lua` does."""
    log, *streams = (key.encode() for key in player.store.key_names.event_log_keys(7)[:3])
    entries = sorted(
        entry.id
        for key in streams
        for entry in getattr(player.client.keyspace.get(key), "list_range", list)()
    )
    if entries:
        archived = b"%d-%d" % random.choice(entries)
        waiting = random.choice((b"", b"0", b"3", b"60"))
        player.client.set_fields(log, {b"archived": archived, b"waiting": waiting})
