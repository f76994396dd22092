"""The kinds of calls. Each draws its details from a `Random`, so that a seed names a call."""

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, Final

from msgspec.structs import replace

from otp_service.core import ports
from otp_service.core.commit import (
    Commit,
    CompareAndSwap,
    PointerName,
    PointerSwap,
    RecordSwap,
    Refund,
)
from otp_service.core.events import IssueDenied
from otp_service.core.known_addresses import AddressTags, KnownAddresses
from otp_service.core.phone_number import PhoneNumber, restore_number
from otp_service.core.pumping.commits import DebtRefund
from otp_service.core.timestamps import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS
from tests.simulation.commit_twins import parts
from tests.simulation.commit_twins.player import REFUSALS, Player, StoredChallenge


Move = Callable[[Player, Random], Awaitable[None]]


def build_commit(player: Player, random: Random, **fields: Any) -> Commit:
    """Return a commit with some of these fields."""
    fields = {
        "partition": random.choice(parts.PARTITIONS),
        "operation_id": player.name_next(),
    } | fields
    return Commit(**fields)


# ------------------------------------------------------------------------------- of a challenge


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
        build_commit(
            player,
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
    deadline = random.choice((0, player.now + MINUTE_MS, player.now - 1))
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
            refunds=_draw_refunds(random, commit),
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
        await player.commit(build_commit(player, random, **fields))


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
                refunds=_draw_refunds(random, commit),
                events=parts.draw_events(random, name, 1),
                only_with_refunds=True,
                **player.build_swap(stored, new),
            )
        )


# ---------------------------------------------------------------------------- charges and debts


async def charge(player: Player, random: Random) -> None:
    name = player.name_next()
    event = parts.draw_denial(random, name) if random.random() < 0.5 else None
    charges = parts.draw_charges(random)
    await player.commit(
        build_commit(player, random, operation_id=name, charges=charges, event_if_refused=event)
    )


async def charge_debts(player: Player, random: Random) -> None:
    name = player.name_next()
    event = parts.draw_denial(random, name) if random.random() < 0.5 else None
    debts = parts.draw_debts(random, player.now)
    charges = parts.draw_charges(random) if random.random() < 0.3 else ()
    await player.commit(
        build_commit(
            player, random, operation_id=name, charges=charges, debts=debts, event_if_refused=event
        )
    )


async def settle(player: Player, random: Random) -> None:
    if earlier := player.pick_commit(random):
        commit, charged_at = earlier
        debts = commit.debts or parts.draw_debts(random, player.now)
        settlement = parts.draw_settlement(random, debts, charged_at)
        await player.commit(
            build_commit(player, random, partition=commit.partition, settlement=settlement)
        )


def _draw_refunds(random: Random, commit: Commit) -> tuple[Refund, ...]:
    """Return refunds of charges, one of which takes more than was charged, as a success does."""
    chosen = [one for one in commit.charges if one.cost and random.random() < 0.8]
    if chosen and random.random() < 0.2:
        chosen[0] = replace(chosen[0], cost=chosen[0].cost + 1)
    return tuple(Refund(one, commit.operation_id) for one in chosen)


async def refund(player: Player, random: Random) -> None:
    """Refund an earlier commit, maybe again, or beside one that has no record."""
    if earlier := player.pick_commit(random):
        commit, _ = earlier
        refunds = _draw_refunds(random, commit)
        if random.random() < 0.2:
            refunds += tuple(Refund(one, "unknown") for one in parts.draw_charges(random, 1))
        debts = (DebtRefund(commit.debts, commit.operation_id),) if commit.debts else ()
        foldable = parts.draw_denial(random, "f") if random.random() < 0.3 else None
        for _ in range(random.choice((1, 1, 2))):
            await player.commit(
                build_commit(
                    player,
                    random,
                    partition=commit.partition,
                    refunds=refunds,
                    debt_refunds=debts,
                    foldable_event=foldable,
                    only_with_refunds=random.random() < 0.2,
                )
            )


async def refund_before_charge(player: Player, random: Random) -> None:
    charges = parts.draw_charges(random)
    debts = parts.draw_debts(random, player.now)
    late = build_commit(player, random, charges=charges, debts=debts)
    refunds = tuple(Refund(one, late.operation_id) for one in charges)
    debt_refunds = (DebtRefund(debts, late.operation_id),)
    fields = {"partition": late.partition, "refunds": refunds, "debt_refunds": debt_refunds}
    await player.commit(build_commit(player, random, **fields))
    await player.commit(late)


async def repeat(player: Player, random: Random) -> None:
    """Repeat a call whose reply was lost."""
    if earlier := player.pick_commit(random):
        await player.commit(earlier[0])


async def send_in_turn(player: Player, random: Random) -> None:
    """The commits of one send, which run until one refuses, with the cause of uncharged debts."""
    commits = [
        build_commit(
            player,
            random,
            charges=parts.draw_charges(random, 2) if random.random() < 0.6 else (),
            debts=parts.draw_debts(random, player.now) if random.random() < 0.7 else None,
            event_if_refused=parts.draw_denial(random, "t"),
        )
        for _ in range(3)
    ]
    await player.commit_all(commits, in_turn=True)


async def commit_all(player: Player, random: Random) -> None:
    """Several commits of one call, which do not depend on each other."""
    commits = [
        build_commit(
            player,
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
        build_commit(
            player,
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
    await player.commit(build_commit(player, random, reset_buckets=buckets, events=events))


# ------------------------------------------------------------------------------------- records


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
        build_commit(
            player,
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
        build_commit(
            player,
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
        build_commit(player, random, new_known_addresses=(random.choice(parts.ACCOUNTS), known))
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


# ----------------------------------------------------------------------------------- the log


async def deny(player: Player, random: Random) -> None:
    name = player.name_next()
    await player.commit(
        build_commit(player, random, foldable_event=parts.draw_denial(random, name))
    )


async def flood(player: Player, random: Random) -> None:
    """Refusals beyond those that are appended one by one."""
    denial = parts.draw_denial(random, player.name_next())
    addresses = [f"203.0.113.{i}" for i in range(3)]
    for _ in range(random.choice((11, 14))):
        event = replace(denial, client_ip=random.choice(addresses))
        await player.commit(build_commit(player, random, partition=7, foldable_event=event))


async def flood_sources(player: Player, random: Random) -> None:
    """Refusals of many numbers of one tenant, which fill the stream."""
    tenant = random.choice(parts.TENANTS)
    commits = []
    for i in range(random.randint(5, 25)):
        event = IssueDenied(id=str(i), tenant=tenant, number=f"1:{random.randint(0, 99)}")
        commits.append(build_commit(player, random, partition=7, foldable_event=event))
    await player.commit_all(commits)


async def append_many_events(player: Player, random: Random) -> None:
    events = parts.draw_events(random, player.name_next(), random.randint(10, 45))
    await player.commit(build_commit(player, random, partition=7, events=events))


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


# ---------------------------------------------------------------------- clocks, servers, losses


async def pass_time(player: Player, random: Random) -> None:
    """Time passes, for decisions and for expiries."""
    spans = (1, SECOND_MS, 30 * SECOND_MS, MINUTE_MS, 10 * MINUTE_MS, HOUR_MS, DAY_MS, 91 * DAY_MS)
    span = random.randint(0, random.choice(spans))
    player.client.pass_time(span)
    player.shift_ms += span


async def set_clock_back(player: Player, random: Random) -> None:
    """The clock of the server was ahead, for decisions and for expiries."""
    span = random.randint(0, random.choice((SECOND_MS, 2 * MINUTE_MS, 26 * HOUR_MS)))
    player.client.pass_time(-span)
    player.shift_ms -= span


async def shift_clock(player: Player, random: Random) -> None:
    """Decisions have another time than expiries."""
    player.shift_ms += random.randint(-5 * SECOND_MS, 5 * SECOND_MS)


async def restart(player: Player, random: Random) -> None:  # noqa: ARG001  # has no details
    player.client.restart()


async def lose_key(player: Player, random: Random) -> None:
    """A key is lost, for example with the tail of a log at a failover."""
    if keys := player.client.keyspace.list_keys():
        player.client.delete_key(random.choice(keys))


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
        fields["refunds"] = _draw_refunds(random, charged)
        if charged.debts:
            fields["debt_refunds"] = (DebtRefund(charged.debts, charged.operation_id),)
            fields["settlement"] = parts.draw_settlement(random, charged.debts, charged_at)
    chosen = {field: value for field, value in fields.items() if random.random() < 0.4}
    await player.commit(build_commit(player, random, operation_id=name, **chosen))


MOVES: Final[dict[str, Move]] = {
    move.__name__: move
    for move in (
        issue, issue_with_pointer, resend, charge_attempt, verify, cancel, refund_attempt,
        charge, charge_debts, settle, refund, refund_before_charge, repeat, send_in_turn,
        commit_all, inspect, reset_buckets, swap_records, read_records, write_known_addresses,
        swap_idempotency_record, swap_shared_record, change_do_not_send_list, delete_keys, deny,
        flood, flood_sources, append_many_events, flush_folds, lose_fold, archive, pass_time,
        set_clock_back, shift_clock, restart, lose_key, mix,
    )
}  # fmt: skip


async def play(player: Player, seeds: list[tuple[str, int]]) -> None:
    """Make the calls of a history. Raises AssertionError at the first difference."""
    for name, seed in seeds:
        try:
            await MOVES[name](player, Random(seed))  # noqa: S311  # its secrets protect nothing
        except REFUSALS as error:
            player.outcomes.append(type(error).__name__)
    player.client.compare_data()
