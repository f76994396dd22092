"""Calls that charge, refund, settle and inspect, and those with any fields. Each draws its details from a seeded `Random`."""

from random import Random
from typing import Any

from msgspec.structs import replace

from otp_service.core.commit import Refund
from otp_service.core.limits import Bucket, Charge, Limit, Window
from otp_service.core.pumping.allowance import Terms
from otp_service.core.pumping.commits import (
    DebtCommit,
    DebtRefund,
    DebtRepayment,
    DebtSettlement,
    KnownNumberName,
    RepaidSend,
)
from otp_service.core.pumping.decision import DebtCharge
from otp_service.core.pumping.scopes import DebtLimit, ScopeBucket
from otp_service.core.timestamps import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from tests.simulation.commit_twins import parts
from tests.simulation.commit_twins.player import Player


async def charge(player: Player, random: Random) -> None:
    name = player.name_next()
    event = parts.draw_denial(random, name) if random.random() < 0.5 else None
    charges = parts.draw_charges(random)
    await player.commit(
        player.build_commit(random, operation_id=name, charges=charges, event_if_refused=event)
    )


async def charge_debts(player: Player, random: Random) -> None:
    name = player.name_next()
    event = parts.draw_denial(random, name) if random.random() < 0.5 else None
    debts = parts.draw_debts(random, player.now)
    charges = parts.draw_charges(random) if random.random() < 0.3 else ()
    await player.commit(
        player.build_commit(
            random, operation_id=name, charges=charges, debts=debts, event_if_refused=event
        )
    )


async def settle(player: Player, random: Random) -> None:
    if earlier := player.pick_commit(random):
        commit, charged_at = earlier
        debts = commit.debts or parts.draw_debts(random, player.now)
        settlement = parts.draw_settlement(random, debts, charged_at)
        await player.commit(
            player.build_commit(random, partition=commit.partition, settlement=settlement)
        )


async def refund(player: Player, random: Random) -> None:
    """Refund an earlier commit, maybe again, or beside one that has no record."""
    if earlier := player.pick_commit(random):
        commit, _ = earlier
        refunds = parts.draw_refunds(random, commit)
        if random.random() < 0.2:
            refunds += tuple(Refund(one, "unknown") for one in parts.draw_charges(random, 1))
        debts = (DebtRefund(commit.debts, commit.operation_id),) if commit.debts else ()
        foldable = parts.draw_denial(random, "f") if random.random() < 0.3 else None
        for _ in range(random.choice((1, 1, 2))):
            await player.commit(
                player.build_commit(
                    random,
                    partition=commit.partition,
                    refunds=refunds,
                    debt_refunds=debts,
                    foldable_event=foldable,
                    only_with_refunds=random.random() < 0.2,
                )
            )


async def refund_failure(player: Player, random: Random) -> None:
    """Charge a failure twice, and take back either."""
    limit = random.choice((Limit.CONSECUTIVE_FAILURES, Limit.COOLDOWN, Limit.SENDS_TENANT))
    windows = (Window(random.choice((3, 7, 100)), 60),)
    failure = Charge(Bucket(limit, "shop", random.choice(parts.NUMBERS)), windows, force=True)
    commits = []
    for _ in range(2):
        commits.append(player.build_commit(random, partition=7, charges=(failure,)))
        await player.commit(commits[-1])
        player.pass_time(random.choice((0, SECOND_MS, MINUTE_MS)))
    undone = random.choice(commits)
    refunds = (Refund(failure, undone.operation_id),)
    await player.commit(player.build_commit(random, partition=7, refunds=refunds))


async def send_exempt(player: Player, random: Random) -> None:
    """Maybe verify a number, send to it, and take back one of the sends."""
    name, traffic = KnownNumberName("shop", parts.NUMBERS[0]), parts.draw_traffic(random)
    if random.random() < 0.5:
        settlement = DebtSettlement(known_number=name, traffic=traffic)
        await player.commit(player.build_commit(random, partition=7, settlement=settlement))
    sent = []
    for _ in range(random.randint(1, 4)):
        player.pass_time(random.choice((0, SECOND_MS, DAY_MS)))
        debts = DebtCommit(
            charges=parts.draw_scopes(random, player.now)[:1],
            known_number=name,
            is_assumed_known=random.random() < 0.5,
            traffic=traffic,
        )
        sent.append(player.build_commit(random, partition=7, debts=debts))
        await player.commit(sent[-1])
    undone = random.choice(sent)
    if undone.debts:
        refunds = (DebtRefund(undone.debts, undone.operation_id),)
        await player.commit(player.build_commit(random, partition=7, debt_refunds=refunds))


async def send_to_countries(player: Player, random: Random) -> None:
    """Send from one address to several countries; take back some of it, and verify some."""
    bucket = ScopeBucket(DebtLimit.UNVERIFIED_COUNTRIES, "shop", "192.0.2.1")
    for _ in range(6):
        country = random.choice(("GB", "FR", "DE", "IT"))
        charge = DebtCharge(bucket, Terms((2, 2)), 1, country=country)
        debts = DebtCommit(charges=(charge,))
        sent = player.build_commit(random, partition=7, debts=debts)
        await player.commit(sent)
        if random.random() < 0.3:
            refunds = (DebtRefund(debts, sent.operation_id),)
            await player.commit(player.build_commit(random, partition=7, debt_refunds=refunds))
        elif random.random() < 0.4:
            repaid = DebtRepayment(bucket, (RepaidSend(player.now, 1),), country)
            settlement = DebtSettlement(repayments=(repaid,))
            await player.commit(player.build_commit(random, partition=7, settlement=settlement))
        player.pass_time(random.choice((0, HOUR_MS, 5 * HOUR_MS)))


async def refund_before_charge(player: Player, random: Random) -> None:
    charges = parts.draw_charges(random)
    debts = parts.draw_debts(random, player.now)
    late = player.build_commit(random, charges=charges, debts=debts)
    refunds = tuple(Refund(one, late.operation_id) for one in charges)
    debt_refunds = (DebtRefund(debts, late.operation_id),)
    fields = {"partition": late.partition, "refunds": refunds, "debt_refunds": debt_refunds}
    await player.commit(player.build_commit(random, **fields))
    await player.commit(late)


async def repeat(player: Player, random: Random) -> None:
    """Repeat a call whose reply was lost."""
    if earlier := player.pick_commit(random):
        await player.commit(earlier[0])


async def send_together(player: Player, random: Random) -> None:
    """The commits of one send, all or none, with the cause of uncharged debts."""
    commits = []
    for _ in range(3):
        debts = parts.draw_debts(random, player.now)
        recorded = tuple(replace(one, refuses=False) for one in debts.charges)
        commits.append(
            player.build_commit(
                random,
                charges=parts.draw_charges(random, 2) if random.random() < 0.4 else (),
                debts=replace(debts, charges=recorded) if random.random() < 0.8 else None,
                event_if_refused=parts.draw_denial(random, "t"),
            )
        )
    await player.commit_all(commits, together=True)


async def commit_all(player: Player, random: Random) -> None:
    """Several commits of one call, which do not depend on each other."""
    commits = [
        player.build_commit(
            random,
            charges=parts.draw_charges(random),
            events=parts.draw_events(random, "m", random.randint(0, 2)),
            foldable_event=parts.draw_denial(random, "m") if random.random() < 0.3 else None,
        )
        for _ in range(random.randint(2, 4))
    ]
    await player.commit_all(commits)


async def inspect(player: Player, random: Random) -> None:
    commits = [
        player.build_commit(
            random,
            charges=parts.draw_charges(random, 6),
            recipient=parts.draw_recipient(random) if random.random() < 0.3 else None,
            debts=parts.draw_debts(random, player.now),
        )
        for _ in range(random.randint(1, 3))
    ]
    await player.store.inspect(commits)
    player.outcomes.append("inspected")


async def reset_buckets(player: Player, random: Random) -> None:
    buckets = tuple(one.bucket for one in parts.draw_charges(random))
    events = parts.draw_events(random, player.name_next(), 1)
    await player.commit(player.build_commit(random, reset_buckets=buckets, events=events))


async def mix(player: Player, random: Random) -> None:
    """A commit with any of its fields, also where no request has these together."""
    name, earlier = player.name_next(), player.pick_commit(random)
    charged, charged_at = earlier or (None, 0)
    fields: dict[str, Any] = {
        "charges": parts.draw_charges(random),
        "recipient": parts.draw_recipient(random),
        "debts": parts.draw_debts(random, player.now),
        "events": parts.draw_events(random, name, 2),
        "event_if_refused": parts.draw_denial(random, name),
        "foldable_event": parts.draw_denial(random, f"{name}-f"),
        "reads": (parts.draw_record_name(random),),
        "known_addresses_of": random.choice(parts.ACCOUNTS),
        "reset_buckets": (parts.draw_charges(random, 1)[0].bucket,),
        "requires_log_capacity": True,
        "only_with_refunds": True,
    }
    if charged:
        fields["refunds"] = parts.draw_refunds(random, charged)
        if charged.debts:
            fields["debt_refunds"] = (DebtRefund(charged.debts, charged.operation_id),)
            fields["settlement"] = parts.draw_settlement(random, charged.debts, charged_at)
    chosen = {field: value for field, value in fields.items() if random.random() < 0.4}
    await player.commit(player.build_commit(random, operation_id=name, **chosen))
