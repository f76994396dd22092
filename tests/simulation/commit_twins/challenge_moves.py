"""Calls about challenges. Each draws its details from a seeded `Random`."""

from random import Random

from msgspec.structs import replace

from otp_service.core.commit import (
    Commit,
    CompareAndSwap,
    PointerName,
    PointerSwap,
)
from otp_service.core.phone_number import PhoneNumber, restore_number
from otp_service.core.timestamps import HOUR_MS, MINUTE_MS
from tests.simulation.commit_twins import parts
from tests.simulation.commit_twins.player import Player, StoredChallenge


async def issue(player: Player, random: Random) -> None:
    partition = random.choice(parts.PARTITIONS)
    challenge, secret = parts.build_challenge(random, partition, player.now)
    name = player.name_next()
    swap = CompareAndSwap(None, challenge, secret)
    await player.commit(
        Commit(
            partition=partition,
            operation_id=name,
            swap=swap,
            recipient=parts.draw_recipient(random),
            submission_marks=parts.draw_marks(random, player.now),
            charges=parts.draw_charges(random),
            events=parts.draw_events(random, name, 2),
            event_if_refused=parts.draw_denial(random, name),
            debts=parts.draw_debts(random, player.now) if random.random() < 0.5 else None,
        )
    )


async def issue_with_pointer(player: Player, random: Random) -> None:
    """Also replace an earlier pointer, or miss it."""
    partition = parts.PARTITIONS[0]
    challenge, secret = parts.build_challenge(random, partition, player.now)
    phone: PhoneNumber = restore_number(random.choice(parts.NUMBERS), "GB")
    name = PointerName(random.choice(parts.TENANTS), "service", phone)
    key = player.store.key_names.pointer_key(partition, name.tenant, name.service, phone.canonical)
    stored = player.client.keyspace.get(key.encode())
    is_current = isinstance(stored, bytes) and random.random() < 0.8
    old_version = int(stored[:8]) if is_current and isinstance(stored, bytes) else 0
    expires_at = player.now + random.choice((0, 1, HOUR_MS))
    await player.commit(
        player.build_commit(
            random,
            partition=partition,
            swap=CompareAndSwap(None, challenge, secret),
            pointer_swap=PointerSwap(name, old_version, challenge.id, expires_at),
        )
    )


async def resend(player: Player, random: Random) -> None:
    if stored := player.pick_challenge(random):
        new = replace(stored.challenge, version=stored.challenge.version + 1, sends_left=1)
        name = player.name_next()
        await player.commit(
            Commit(
                operation_id=name,
                charges=parts.draw_charges(random),
                debts=parts.draw_debts(random, player.now),
                events=parts.draw_events(random, name, 1),
                event_if_refused=parts.draw_denial(random, name),
                **player.build_swap(stored, new, secret=stored.secret),
            )
        )


async def charge_attempt(player: Player, random: Random) -> None:
    """An attempt in time, late, or on a version that is no longer stored."""
    if stored := player.pick_challenge(random):
        await player.commit(_build_attempt(player, random, stored))


def _build_attempt(player: Player, random: Random, stored: StoredChallenge) -> Commit:
    challenge, name = stored.challenge, player.name_next()
    if random.random() < 0.2:
        challenge = replace(challenge, version=challenge.version + random.choice((-1, 1)))
    new = replace(challenge, version=challenge.version + 1, attempts_left=4)
    deadline = random.choice((0, player.now + MINUTE_MS, player.now, player.now - 1))
    swap = CompareAndSwap(challenge, new, deadline=deadline)
    return Commit(
        partition=stored.partition,
        operation_id=name,
        swap=swap,
        charges=parts.draw_charges(random),
        events=parts.draw_events(random, name, 1),
        event_if_refused=parts.draw_denial(random, name) if random.random() < 0.7 else None,
    )


async def verify(player: Player, random: Random) -> None:
    """A right code: the attempt is refunded, its failures are reset, and its sends are repaid."""
    stored, earlier = player.pick_challenge(random), player.pick_commit(random)
    if not stored or not earlier:
        return
    commit, charged_at = earlier
    new = replace(stored.challenge, version=stored.challenge.version + 1, ends_at=player.now)
    name = player.name_next()
    await player.commit(
        Commit(
            operation_id=name,
            refunds=parts.draw_refunds(random, commit),
            reset_buckets=tuple(one.bucket for one in parts.draw_charges(random, 1)),
            events=parts.draw_events(random, name, 2),
            settlement=parts.draw_settlement(random, commit.debts, charged_at)
            if commit.debts
            else None,
            **player.build_swap(stored, new, secret=None),
        )
    )


async def cancel(player: Player, random: Random) -> None:
    if stored := player.pick_challenge(random):
        new = replace(stored.challenge, version=stored.challenge.version + 1, ends_at=player.now)
        fields = player.build_swap(stored, new, secret=None)
        await player.commit(player.build_commit(random, **fields))


async def refund_attempt(player: Player, random: Random) -> None:
    """A change that is made only with its refunds."""
    stored, earlier = player.pick_challenge(random), player.pick_commit(random)
    if stored and earlier:
        commit, _ = earlier
        new = replace(stored.challenge, version=stored.challenge.version + 1)
        name = player.name_next()
        await player.commit(
            Commit(
                operation_id=name,
                refunds=parts.draw_refunds(random, commit),
                events=parts.draw_events(random, name, 1),
                only_with_refunds=True,
                **player.build_swap(stored, new),
            )
        )
