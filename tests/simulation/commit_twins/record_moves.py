"""Calls about records of accounts, shared ones, and the do-not-send list. Each draws its details from a seeded `Random`."""

from random import Random

from otp_service.core import ports
from otp_service.core.commit import RecordSwap
from otp_service.core.known_addresses import AddressTags, KnownAddresses
from otp_service.core.timestamps import DAY_MS, HOUR_MS, MINUTE_MS
from tests.simulation.commit_twins import parts
from tests.simulation.commit_twins.player import Player


async def swap_records(player: Player, random: Random) -> None:
    """Replace one or two records with the versions that they have, or others."""
    partition, swaps = random.choice(parts.PARTITIONS), []
    names = {parts.draw_record_name(random) for _ in range(random.randint(1, 2))}
    for name in names:
        key = player.store.key_names.account_record_key(partition, name)
        stored = player.client.keyspace.get(key.encode())
        version = int(stored[:8]) if isinstance(stored, bytes) else 0
        version += random.choice((0, 0, 0, 0, 1))
        expires_at = player.now + random.choice((0, 1, HOUR_MS, DAY_MS))
        swaps.append(RecordSwap(name, version, b"body", expires_at))
    await player.commit(
        player.build_commit(
            random,
            partition=partition,
            record_swaps=tuple(swaps),
            charges=parts.draw_charges(random, 1),
            events=parts.draw_events(random, player.name_next(), 1),
        )
    )


async def read_records(player: Player, random: Random) -> None:
    """Charge a failure, and read the records and the known addresses of its account."""
    await player.commit(
        player.build_commit(
            random,
            charges=parts.draw_charges(random, 2),
            reads=tuple(parts.draw_record_name(random) for _ in range(random.randint(0, 2))),
            known_addresses_of=random.choice((None, *parts.ACCOUNTS)),
            event_if_refused=parts.draw_denial(random, "a"),
        )
    )


async def write_known_addresses(player: Player, random: Random) -> None:
    tags = AddressTags(random.randbytes(8), random.randbytes(8))
    known = KnownAddresses().add(tags, player.now - random.choice((0, 89, 90, 91)) * DAY_MS)
    await player.commit(
        player.build_commit(random, new_known_addresses=(random.choice(parts.ACCOUNTS), known))
    )


async def swap_idempotency_record(player: Player, random: Random) -> None:
    key, tenant = random.choice("ab"), random.choice(parts.TENANTS)
    _, old = await player.store.get_idempotency_record(tenant, key)
    if random.random() < 0.2:
        old = None
    version = old.version + 1 if old else 1
    new = ports.IdempotencyRecord(version, b"f", "c07-id", player.now + MINUTE_MS)
    is_kept = old is None or random.random() < 0.8
    await player.store.swap_idempotency_record(
        tenant, key, old, new if is_kept else None, player.name_next()
    )


async def swap_shared_record(player: Player, random: Random) -> None:
    version, _ = await player.store.get_shared_record("providers")
    version += random.choice((0, 0, 1))
    events = parts.draw_events(random, player.name_next(), random.randint(0, 2))
    await player.store.swap_shared_record("providers", version, b"b", events, player.name_next())


async def change_do_not_send_list(player: Player, random: Random) -> None:
    """Block a number or note an opt-out, or lift either."""
    names, partition = player.store.key_names, parts.PARTITIONS[0]
    number, name = random.choice(parts.NUMBERS), player.name_next()
    key = random.choice(
        (
            names.block_key(partition, number),
            names.opt_out_key(partition, random.choice(("", *parts.TENANTS)), number),
        )
    )
    draft = player.store.start_commit(partition, name)
    if random.random() < 0.4:
        draft.write(key, b"entry")
    else:
        draft.delete(key)
    draft.append_foldable(parts.draw_denial(random, name))
    await player.store.run_commit(draft)


async def delete_keys(player: Player, random: Random) -> None:
    """Erase some keys by the store."""
    stored = [key.decode() for key in player.client.keyspace.list_keys() if b":limit:" in key]
    if stored:
        keys = random.sample(stored, min(len(stored), 3))
        await player.store.delete_keys(keys, player.name_next())
