"""Calls that fill, fold, flush and archive the log. Each draws its details from a seeded `Random`."""

from random import Random

from msgspec.structs import replace

from otp_service.core.events import IssueDenied
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
    for _ in range(random.choice((11, 14))):
        event = replace(denial, client_ip=random.choice(addresses))
        await player.commit(player.build_commit(random, partition=7, foldable_event=event))


async def flood_sources(player: Player, random: Random) -> None:
    """Refusals of many numbers of one tenant, which fill the stream."""
    tenant = random.choice(parts.TENANTS)
    commits = []
    for i in range(random.randint(5, 25)):
        event = IssueDenied(id=str(i), tenant=tenant, number=f"1:{random.randint(0, 99)}")
        commits.append(player.build_commit(random, partition=7, foldable_event=event))
    await player.commit_all(commits)


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
