"""What is under an earlier limit key, and moving it: `otp-service limit-key`."""

import asyncio
import itertools
import os
from collections.abc import Awaitable, Callable
from random import Random

import msgspec
import pytest

from otp_service.core.charges import build_consecutive_failure_charge
from otp_service.core.commit import Commit
from otp_service.core.do_not_send import ALL_TENANTS, DoNotSendEntry, DoNotSendReason
from otp_service.core.errors import (
    AccountLocked,
    IncorrectCode,
    NumberLocked,
    NumberNotAllowed,
    StoreUnavailable,
)
from otp_service.core.events import BlocklistChanged, NumberOptedOut
from otp_service.core.keys import Key, KeyRing
from otp_service.core.limits import MAX_CONSECUTIVE_FAILURES, Bucket, Charge, Limit
from otp_service.core.phone_number import parse_number
from otp_service.store.client import ScriptClient
from otp_service.store.failure_move import FailureMove, StoredFailures, count_other_failures
from otp_service.store.limit_key_contents import (
    MOVED_KINDS,
    ContentKind,
    LimitKeyContents,
    LimitKeyScan,
    locate_bucket,
)
from otp_service.store.limit_key_move import LimitKeyMover
from otp_service.store.number_admin import NumberAdmin
from tests.installation import SECOND_MS, Installation, make_wrong_code


NUMBER = "+447400123456"
HOUR = 3600 * SECOND_MS
NUMBERS = [f"+4474001{place:05d}" for place in range(0, 50_000, 5_000)]
"""Each has another prefix, so that they are in many partitions."""


class Rotation:
    """One installation at each step of a rotation of the limit key."""

    def __init__(self, before: Installation) -> None:
        (old,), new = before.keys.limit.keys, Key("limit-2", os.urandom(32))
        self.before = before
        self.spread, self.used, self.over = (
            before.restart(keys=msgspec.structs.replace(before.keys, limit=KeyRing(ring)))
            for ring in ((old, new), (new, old), (new,))
        )

    def advance_clock(self, milliseconds: int) -> None:
        for step in (self.before, self.spread, self.used, self.over):
            step.advance_clock(milliseconds)


@pytest.fixture
def rotation(script_client: ScriptClient) -> Rotation:
    return Rotation(Installation(script_client))


def operation() -> str:
    return os.urandom(16).hex()


def create_mover(world: Installation) -> LimitKeyMover:
    return LimitKeyMover(world.store, operation)


async def scan(world: Installation) -> LimitKeyContents:
    return await LimitKeyScan(world.store).count_all()


async def move(world: Installation) -> int:
    """Do what the command does, and return how much was moved."""
    mover = create_mover(world)
    await mover.complete_moves()
    return await mover.move(await scan(world))


async def block(world: Installation, number: str = NUMBER, *, at: int | None = None) -> None:
    admin = NumberAdmin(world.store, world.keys.pseudonym)
    event = BlocklistChanged(id=operation(), reason="blocked")
    await admin.block_number(parse_number(number), event, operation(), at=at)


async def unblock(world: Installation, number: str = NUMBER) -> None:
    admin = NumberAdmin(world.store, world.keys.pseudonym)
    event = BlocklistChanged(id=operation(), reason="unblocked")
    await admin.unblock_number(parse_number(number), event, operation(), tenants=["shop", "bank"])


async def opt_out(
    world: Installation, number: str = NUMBER, tenant: str = ALL_TENANTS, at: int = 1
) -> None:
    admin = NumberAdmin(world.store, world.keys.pseudonym)
    event = NumberOptedOut(id=operation(), provider="one", keyword="stop")
    entry = DoNotSendEntry(number, at, "one", "447860000000")
    await admin.opt_out(
        parse_number(number), tenant, entry, message=None, event=event, operation_id=operation()
    )


async def add_failures(world: Installation, number: str = NUMBER, count: int = 100) -> None:
    phone = parse_number(number)
    charge = build_consecutive_failure_charge(world.tenants["shop"], phone)
    await charge_failures(world, charge, count, world.store.get_number_partition(phone.canonical))


async def add_account_failures(world: Installation, account: str, count: int, limit: Limit) -> None:
    bucket = Bucket(limit, "shop", account)
    charge = Charge(bucket, world.tenants["shop"].limits[limit])
    await charge_failures(world, charge, count, world.store.get_bucket_partition(bucket))


async def charge_failures(world: Installation, charge: Charge, count: int, partition: int) -> None:
    charges = (msgspec.structs.replace(charge, cost=count, force=True),)
    await world.store.commit(Commit(partition=partition, operation_id=operation(), charges=charges))


async def read_count(world: Installation, number: str = NUMBER, tenant: str = "shop") -> int:
    """Return the failures under the key in force alone."""
    bucket = Bucket(Limit.CONSECUTIVE_FAILURES, tenant, parse_number(number).canonical)
    key = locate_bucket(world.store.key_names, bucket)
    (count,) = await world.script_client.read_each([key], "HGET", "count")
    return int(count or 0)


async def end_codes(rotation: Rotation) -> None:
    """Delete the secrets of challenges, as Redis does at their deadline."""
    for key in await rotation.used.list_keys("*:secret:*"):
        await rotation.used.script_client.run_pipeline(key.decode(), [("DEL", key)])


async def is_refused(world: Installation, number: str = NUMBER, tenant: str = "shop") -> bool:
    """Whether a send to the number is refused by the list or a lock, at no cost if it is not."""
    try:
        await world.issue(number, tenant=tenant)
    except (NumberLocked, NumberNotAllowed):
        return True
    return False


# ------------------------------------------------------------------------------------ what is there


async def test_each_thing_is_counted_under_its_key(rotation: Rotation) -> None:
    """Blocks, opt-outs of a tenant and of all, and failures of numbers and of accounts."""
    for world, factor in ((rotation.before, 1), (rotation.used, 2)):
        for place in range(factor):
            number = NUMBERS[place + 3 * (factor - 1)]
            await block(world, number)
            await opt_out(world, number)
            await opt_out(world, number, "shop")
            await add_failures(world, number, 1)
            limit = Limit.CONSECUTIVE_RECOVERY_FAILURES
            await add_account_failures(world, f"u-{factor}-{place}", 1, limit)

    contents = await scan(rotation.used)

    expected = {ContentKind.BLOCK: 1, ContentKind.OPT_OUT: 2, ContentKind.FAILURES: 2}
    old = rotation.before.keys.limit.current.id
    assert {(old, kind): count for kind, count in expected.items()} == contents.elsewhere
    assert {kind: 2 * count for kind, count in expected.items()} == contents.in_place
    assert not contents.is_settled


async def test_what_expires_by_itself_is_counted_while_there_are_two_keys(
    rotation: Rotation,
) -> None:
    """A STOP needs the mark of its number, and a code is charged in the partition of its challenge."""
    elsewhere = await find_moving_number(rotation)
    await rotation.before.issue(elsewhere)
    await rotation.used.issue(NUMBERS[-1])

    contents = await scan(rotation.used)

    old = rotation.before.keys.limit.current.id
    assert 1 == contents.elsewhere[old, ContentKind.RECIPIENT]
    assert 1 == contents.elsewhere[old, ContentKind.LIVE_CODE]
    assert {elsewhere} == contents.live_numbers
    assert not contents.is_settled


async def test_a_key_that_is_missing_is_named(rotation: Rotation) -> None:
    """The key was removed too early: its id is in the records, and putting it back is enough."""
    await block(rotation.before)
    await add_failures(rotation.before, NUMBERS[1], 3)

    contents = await scan(rotation.over)

    old = rotation.before.keys.limit.current.id
    assert [old] == contents.list_missing_keys()
    assert 2 == contents.count_under(old)
    assert [] == contents.misplaced
    assert 2 == await move(rotation.used)
    assert (await scan(rotation.over)).is_settled


async def test_what_another_program_wrote_is_unreadable_and_stays(rotation: Rotation) -> None:
    """It refuses as long as the key that names it is configured, so it is not deleted."""
    await block(rotation.before)
    await add_failures(rotation.before, NUMBERS[1], 3)
    for pattern, command in (
        ("*:blocked:*", ("SET", "garbage")),
        ("*:limit:Consecutive*", ("HSET", "subject", "garbage")),
    ):
        (key,) = await rotation.used.list_keys(pattern)
        write = (command[0], key, *command[1:])
        await rotation.used.script_client.run_pipeline(key.decode(), [write])

    moved = await move(rotation.used)
    contents = await scan(rotation.used)

    assert 0 == moved
    assert {ContentKind.BLOCK: 1, ContentKind.FAILURES: 1} == contents.unreadable
    assert not contents.is_settled
    assert await is_refused(rotation.used)


# ------------------------------------------------------------------------------------------ moving


async def test_everything_is_moved_and_removing_the_old_key_changes_no_refusal(
    rotation: Rotation,
) -> None:
    """In many partitions, for each kind, at each step."""
    refused = NUMBERS[:8]
    actions: list[Callable[[str], object]] = [
        lambda number: block(rotation.before, number),
        lambda number: opt_out(rotation.before, number),
        lambda number: opt_out(rotation.before, number, "shop"),
        lambda number: add_failures(rotation.before, number),
    ]
    for number, action in zip(refused, itertools.cycle(actions), strict=False):
        await action(number)  # type: ignore[misc]
    await add_account_failures(rotation.before, "u-81", 100, Limit.CONSECUTIVE_FAILURES_ACCOUNT)

    async def find_refused(world: Installation) -> list[str]:
        rotation.advance_clock(HOUR)
        return [number for number in NUMBERS if await is_refused(world, number)]

    found = [await find_refused(world) for world in (rotation.before, rotation.spread)]
    await end_codes(rotation)
    found.append(await find_refused(rotation.used))
    assert 9 == await move(rotation.used)
    found.append(await find_refused(rotation.used))
    contents = await scan(rotation.used)
    assert 0 == contents.count_under(rotation.before.keys.limit.current.id, MOVED_KINDS)
    found.append(await find_refused(rotation.over))

    assert [refused] * 5 == found
    with pytest.raises(AccountLocked):
        await rotation.over.issue(NUMBERS[9], account="u-81")
    assert 0 == await move(rotation.used)
    own = await scan(rotation.over)
    assert {ContentKind.BLOCK: 2, ContentKind.OPT_OUT: 4, ContentKind.FAILURES: 3} == {
        kind: own.in_place[kind] for kind in MOVED_KINDS
    }


@pytest.mark.parametrize("seed", range(4))
async def test_when_nothing_is_left_under_the_old_key_its_removal_changes_no_refusal(
    rotation: Rotation, seed: int
) -> None:
    """Whatever workers of all three steps have stored before."""
    random = Random(seed)  # noqa: S311  # a scenario that can be repeated
    actions: list[Callable[[Installation, str], Awaitable[None]]] = [
        block,
        unblock,
        opt_out,
        lambda world, number: opt_out(world, number, "shop"),
        lambda world, number: opt_out(world, number, "bank"),
        lambda world, number: add_failures(world, number, 60),
        add_failures,
    ]
    for number in random.choices(NUMBERS, k=40):
        world = random.choice([rotation.before, rotation.spread, rotation.used])
        await random.choice(actions)(world, number)
    await move(rotation.used)
    assert (await scan(rotation.used)).is_settled

    for number, tenant in itertools.product(NUMBERS, ("shop", "bank")):
        rotation.advance_clock(60 * SECOND_MS)
        with_old_key = await is_refused(rotation.used, number, tenant)
        rotation.advance_clock(60 * SECOND_MS)
        assert await is_refused(rotation.over, number, tenant) is with_old_key


async def test_an_entry_keeps_its_time_its_tenant_and_where_it_came_from(
    rotation: Rotation,
) -> None:
    """It is the evidence of what the person asked for."""
    await opt_out(rotation.before, NUMBER, "shop", at=1_763_814_000_123)
    admin = NumberAdmin(rotation.over.store, rotation.over.keys.pseudonym)

    await move(rotation.used)

    (listed,) = await admin.list_entries(DoNotSendReason.OPTED_OUT)
    assert "shop" == listed.tenant
    assert DoNotSendEntry(NUMBER, 1_763_814_000_123, "one", "447860000000") == listed.entry


@pytest.mark.parametrize(("old_at", "new_at"), [(5, 9), (9, 5)])
async def test_the_earlier_of_two_opt_outs_is_kept(
    rotation: Rotation, old_at: int, new_at: int
) -> None:
    """Under both keys there may be one: a step-1 worker and a step-2 worker heard the person."""
    await opt_out(rotation.before, at=old_at)
    await opt_out(rotation.used, at=new_at)

    assert 1 == await move(rotation.used)

    admin = NumberAdmin(rotation.over.store, rotation.over.keys.pseudonym)
    (listed,) = await admin.list_entries(DoNotSendReason.OPTED_OUT)
    assert isinstance(listed.entry, DoNotSendEntry)
    assert 5 == listed.entry.at
    assert 1 == len(await rotation.used.list_keys("*}:opted-out:*"))


async def test_an_entry_under_both_keys_replaces_one_that_cannot_be_read(
    rotation: Rotation,
) -> None:
    await block(rotation.before)
    await block(rotation.used)
    names = rotation.used.store.key_names
    key = names.block_key(names.compute_number_partition(NUMBER), NUMBER)
    await rotation.used.script_client.run_pipeline(key, [("SET", key, "garbage")])

    assert 1 == await move(rotation.used)
    assert (await scan(rotation.used)).is_settled
    assert await is_refused(rotation.over)


async def test_failures_under_both_keys_are_added_up(rotation: Rotation) -> None:
    """R18: no rotation gives a second hundred; and it ends with the later of both."""
    await add_failures(rotation.before, count=60)
    rotation.advance_clock(HOUR)
    await add_failures(rotation.used, count=39)
    assert 39 == await read_count(rotation.used)

    await move(rotation.used)

    assert 99 == await read_count(rotation.over)
    rotation.advance_clock(2 * HOUR)
    issued = await rotation.over.issue(NUMBER)
    with pytest.raises(IncorrectCode):
        await rotation.over.verify(issued, make_wrong_code(rotation.before.router.extract_code()))
    rotation.advance_clock(2 * HOUR)
    assert await is_refused(rotation.over)


async def test_moved_failures_expire_90_days_after_the_last_one(rotation: Rotation) -> None:
    """The move is no new failure."""
    await add_failures(rotation.before, count=60)
    (key,) = await rotation.used.list_keys("*:limit:Consecutive*")
    (client, name) = rotation.used.script_client, key.decode()
    (last,) = await client.read_each([name], "HGET", "last")
    earlier = int(last) - 30 * 24 * HOUR
    await client.run_pipeline(name, [("HSET", name, "last", earlier)])

    await move(rotation.used)

    bucket = Bucket(Limit.CONSECUTIVE_FAILURES, "shop", NUMBER)
    target = locate_bucket(rotation.over.store.key_names, bucket)
    ((ttl,),) = [await client.run_pipeline(target, [("PTTL", target)])]
    assert 60 * 24 * HOUR - 60_000 < ttl <= 60 * 24 * HOUR


async def test_a_success_after_a_move_resets_the_failures(rotation: Rotation) -> None:
    await add_failures(rotation.before, count=50)
    await move(rotation.used)
    rotation.advance_clock(2 * HOUR)

    issued = await rotation.used.issue(NUMBER)
    await rotation.used.verify(issued, rotation.before.router.extract_code())

    assert 0 == await read_count(rotation.used)
    assert 0 == (await scan(rotation.used)).in_place[ContentKind.FAILURES]


async def find_moving_number(rotation: Rotation) -> str:
    """Return a number whose partition differs between both keys: 63 of 64 do."""
    stores = rotation.before.store, rotation.used.store
    return next(
        number
        for number in NUMBERS
        if 2 == len({store.get_number_partition(number) for store in stores})
    )


async def test_failures_of_a_number_with_a_valid_code_wait_for_its_end(
    rotation: Rotation,
) -> None:
    """The code is charged in the old partition: a moved count would be missing there for a moment."""
    number = await find_moving_number(rotation)
    await add_failures(rotation.before, number, 5)
    issued = await rotation.before.issue(number)
    code = make_wrong_code(rotation.before.router.extract_code())

    assert 0 == await move(rotation.used)
    with pytest.raises(IncorrectCode):
        await rotation.used.verify(issued, code)
    await end_codes(rotation)
    assert 2 == await move(rotation.used)

    assert 6 == await read_count(rotation.over, number)


# ------------------------------------------------------------------------- at the same time as calls


async def test_a_listed_or_locked_number_is_refused_at_every_moment_of_a_move(
    rotation: Rotation,
) -> None:
    """Sends by worker processes with the new key in front, while the command runs."""
    listed, locked = NUMBERS[0], NUMBERS[1]
    for turn in range(15):
        world = rotation.before if turn % 2 else rotation.used
        await unblock(rotation.used, listed)
        await block(world, listed)
        await add_failures(world, locked, 100)
        moving = asyncio.create_task(move(rotation.used))
        results: list[bool] = []
        while not moving.done() or not results:
            results += [
                await is_refused(rotation.used, listed),
                await is_refused(rotation.used, locked),
            ]
        await moving
        assert all(results), turn


@pytest.mark.parametrize("place", range(6))
async def test_a_listed_or_locked_number_is_refused_between_any_two_writes_of_a_move(
    rotation: Rotation, place: int
) -> None:
    """At each of them, on each server of a cluster."""
    listed, locked = NUMBERS[0], NUMBERS[1]
    await block(rotation.before, listed)
    await add_failures(rotation.before, locked, 100)
    mover, contents = create_mover(rotation.used.restart()), await scan(rotation.used)
    refused = []

    async def send() -> None:
        refused.append([await is_refused(rotation.used, number) for number in (listed, locked)])

    call_between(mover, place, send)
    await mover.move(contents)

    assert [[True, True]] == refused


async def test_a_failure_during_a_move_counts_at_every_moment_of_it(rotation: Rotation) -> None:
    """It arrives under the old name after the others were added: 99 and one are a lock."""
    await add_failures(rotation.before, count=99)
    mover, contents = create_mover(rotation.used.restart()), await scan(rotation.used)
    refused: list[bool] = []

    async def fail_and_send() -> None:
        if not refused:
            await add_failures(rotation.before, count=1)
        refused.append(await is_refused(rotation.used))

    for place in range(4):
        call_between(mover, place, fail_and_send)
    await mover.move(contents)

    assert [True] * 4 == refused
    await move(rotation.used)
    assert 100 == await read_count(rotation.over)


async def test_no_failure_is_lost_while_attempts_and_moves_run(rotation: Rotation) -> None:
    """Failures arrive under both keys, as of workers of both steps, and the sum is exact."""
    total = 0

    async def charge(world: Installation) -> None:
        nonlocal total
        for _ in range(25):
            await add_failures(world, count=1)
            total += 1

    async def keep_moving() -> None:
        for _ in range(20):
            await move(rotation.used)

    await asyncio.gather(
        charge(rotation.before), charge(rotation.used), keep_moving(), keep_moving()
    )
    await move(rotation.used)

    assert total == await read_count(rotation.over)
    assert 0 == await move(rotation.used)


# --------------------------------------------------------------------------------------- interrupted


class Killed(Exception):
    """The process has ended."""


def kill_after(mover: LimitKeyMover, commands: int) -> None:
    """Let a mover end after so many calls that write."""
    left = commands
    run_commit, run_script = mover._store.run_commit, mover._run

    def count_down() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    async def commit(*args, **options):
        count_down()
        return await run_commit(*args, **options)

    async def run(*args):
        count_down()
        return await run_script(*args)

    mover._store.run_commit, mover._run = commit, run  # type: ignore[method-assign]


@pytest.mark.parametrize("commands", range(8))
async def test_a_move_that_was_killed_is_completed_by_the_next(
    rotation: Rotation, commands: int
) -> None:
    """Between any two of its writes: what is refused stays so, and nothing is counted twice."""
    await block(rotation.before, NUMBERS[0])
    await opt_out(rotation.before, NUMBERS[0], "shop")
    await add_failures(rotation.before, NUMBERS[1], 60)
    await add_failures(rotation.used, NUMBERS[1], 20)
    killed = rotation.used.restart()
    mover = create_mover(killed)
    contents = await scan(killed)
    contents.misplaced.sort(key=lambda item: item.kind is not ContentKind.FAILURES)
    kill_after(mover, commands)

    with pytest.raises(Killed):
        await mover.move(contents)

    assert await is_refused(rotation.used, NUMBERS[0])
    rotation.advance_clock(2 * HOUR)
    assert not await is_refused(rotation.used, NUMBERS[1])  # 80, and not 140
    await add_failures(rotation.used, NUMBERS[1], 1)
    await move(rotation.used)
    assert 81 == await read_count(rotation.over, NUMBERS[1])
    rotation.advance_clock(2 * HOUR)
    assert await is_refused(rotation.over, NUMBERS[0])
    contents = await scan(rotation.used)
    assert 0 == contents.count_under(rotation.before.keys.limit.current.id, MOVED_KINDS)


@pytest.mark.parametrize("calls", range(4))
async def test_failures_that_are_taken_before_the_end_count_once(
    rotation: Rotation, calls: int
) -> None:
    """The process ends after any of the four calls, and new failures are there before the next run."""
    await add_failures(rotation.before, count=60)
    mover = create_mover(rotation.used.restart())
    contents = await scan(rotation.used)
    kill_after(mover, calls)
    with pytest.raises(Killed):
        await mover.move(contents)
    await add_failures(rotation.before, count=5)  # of a worker of an earlier step
    await add_failures(rotation.used, count=3)

    await move(rotation.used)

    assert 68 == await read_count(rotation.over)
    assert 1 == len(await rotation.used.list_keys("*:limit:Consecutive*"))


# -------------------------------------------------------------------------- lifted in the middle


def call_between(mover: LimitKeyMover, place: int, call: Callable[[], object]) -> None:
    """Run a call after so many calls of a mover that write."""
    kill_at = itertools.count()
    run_commit, run_script = mover._store.run_commit, mover._run

    async def commit(*args, **options):
        reply = await run_commit(*args, **options)
        if next(kill_at) == place:
            await call()
        return reply

    async def run(*args):
        reply = await run_script(*args)
        if next(kill_at) == place:
            await call()
        return reply

    mover._store.run_commit, mover._run = commit, run  # type: ignore[method-assign]


@pytest.mark.parametrize("place", [0, 1])
async def test_a_number_that_is_unblocked_in_the_middle_stays_unblocked(
    rotation: Rotation, place: int
) -> None:
    """Between the two writes, and after them."""
    await block(rotation.before)
    mover, contents = create_mover(rotation.used.restart()), await scan(rotation.used)
    call_between(mover, place, lambda: unblock(rotation.used))

    await mover.move(contents)

    assert [] == await rotation.used.list_keys("*}:blocked:*")
    assert not await is_refused(rotation.over)


async def test_an_entry_that_was_read_before_it_was_lifted_does_not_return(
    rotation: Rotation,
) -> None:
    """The operator's command runs between the read and the first write."""
    await block(rotation.before)
    mover, contents = create_mover(rotation.used.restart()), await scan(rotation.used)
    write_entry = mover._write_entry

    async def unblock_and_write(*args):
        await unblock(rotation.used)
        return await write_entry(*args)

    mover._write_entry = unblock_and_write  # type: ignore[method-assign]

    assert 0 == await mover.move(contents)

    assert [] == await rotation.used.list_keys("*}:blocked:*")


@pytest.mark.parametrize("place", [0, 1])
async def test_two_moves_at_once_lose_no_entry(rotation: Rotation, place: int) -> None:
    """The other run deletes the old name first: that is no reason to delete the new one."""
    await block(rotation.before)
    mover, contents = create_mover(rotation.used.restart()), await scan(rotation.used)
    call_between(mover, place, lambda: move(rotation.used))

    await mover.move(contents)

    assert await is_refused(rotation.over)
    assert 1 == len(await rotation.used.list_keys("*}:blocked:*"))


@pytest.mark.parametrize("place", [0, 1, 2, 3])
async def test_failures_that_a_success_resets_in_the_middle_do_not_return(
    rotation: Rotation, place: int
) -> None:
    """Between the calls, and after them."""
    await add_failures(rotation.before, count=60)
    rotation.advance_clock(2 * HOUR)
    issued = await rotation.used.issue(NUMBER)
    code = rotation.before.router.extract_code()
    mover, contents = create_mover(rotation.used.restart()), await scan(rotation.used)
    call_between(mover, place, lambda: rotation.used.verify(issued, code))

    await mover.move(contents)

    assert 0 == await read_count(rotation.over)


async def test_failures_that_a_success_reset_after_they_were_read_do_not_return(
    rotation: Rotation,
) -> None:
    await add_failures(rotation.before, count=60)
    rotation.advance_clock(2 * HOUR)
    issued = await rotation.used.issue(NUMBER)
    code = rotation.before.router.extract_code()
    mover, contents = create_mover(rotation.used.restart()), await scan(rotation.used)
    add = mover._add_failures

    async def verify_and_add(*args):
        await rotation.used.verify(issued, code)
        return await add(*args)

    mover._add_failures = verify_and_add  # type: ignore[method-assign]

    await mover.move(contents)

    assert 0 == await read_count(rotation.over)


async def test_lost_replies_of_a_move_change_nothing(rotation: Rotation) -> None:
    """Each call is repeated, as after a lost connection, and counts once."""
    await block(rotation.before, NUMBERS[0])
    await add_failures(rotation.before, count=60)
    await add_failures(rotation.used, count=7)
    mover, contents = create_mover(rotation.used.restart()), await scan(rotation.used)
    run_script = mover._run

    async def run_twice(*args):
        await run_script(*args)
        return await run_script(*args)

    mover._run = run_twice  # type: ignore[method-assign]

    await mover.move(contents)

    assert 67 == await read_count(rotation.over)
    assert await is_refused(rotation.over, NUMBERS[0])


@pytest.mark.parametrize(
    "note",
    [b"garbage", msgspec.msgpack.encode(FailureMove("1", "{00}:mode", 60))],
    ids=["no move", "of another key"],
)
async def test_a_note_of_another_program_subtracts_nothing(rotation: Rotation, note: bytes) -> None:
    """Write access to Redis gives an attacker no attempt, and no call fails by it."""
    await add_failures(rotation.used, count=60)
    await add_failures(rotation.before, count=40)
    bucket = Bucket(Limit.CONSECUTIVE_FAILURES, "shop", NUMBER)
    key = locate_bucket(rotation.used.store.key_names, bucket)
    await rotation.used.script_client.run_pipeline(key, [("HSET", key, "move", note)])

    assert await is_refused(rotation.used)
    await move(rotation.used)

    assert 100 == await read_count(rotation.over)
    assert [] == await rotation.used.list_keys("{00}:mode")


async def test_a_move_ends_when_the_store_does_not_answer(rotation: Rotation) -> None:
    """It is reported, and a later run does the rest."""
    await block(rotation.before)
    mover, contents = create_mover(rotation.used.restart()), await scan(rotation.used)

    async def fail(*_, **__):
        raise StoreUnavailable

    run_commit, mover._store.run_commit = mover._store.run_commit, fail  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await mover.move(contents)
    mover._store.run_commit = run_commit  # type: ignore[method-assign]

    assert 1 == await mover.move(contents)


# --------------------------------------------------------------------------------------- the reader


@pytest.mark.parametrize(
    ("charged", "others", "expected"),
    [
        (StoredFailures("new", 5), [StoredFailures("old", 60)], 60),
        # Added, and not taken yet.
        (
            StoredFailures("new", 65, FailureMove("1", "old", 60)),
            [StoredFailures("old", 60)],
            0,
        ),
        # Taken, and one more since.
        (
            StoredFailures("new", 65, FailureMove("1", "old", 60)),
            [StoredFailures("old", 1, taken=FailureMove("1", "old", 60))],
            1,
        ),
        # Taken by an earlier move, and added by this one.
        (
            StoredFailures("new", 65, FailureMove("2", "old", 60)),
            [StoredFailures("old", 60, taken=FailureMove("1", "old", 5))],
            0,
        ),
        # One more under the old name since.
        (
            StoredFailures("new", 65, FailureMove("1", "old", 60)),
            [StoredFailures("old", 61), StoredFailures("other", 3)],
            4,
        ),
        # The charged bucket is the source.
        (
            StoredFailures("old", 60),
            [StoredFailures("new", 65, FailureMove("1", "old", 60))],
            5,
        ),
    ],
)
def test_failures_that_are_being_moved_count_once(charged, others, expected) -> None:
    assert expected == count_other_failures(charged, others)


def test_the_maximum_is_what_these_tests_lock_with() -> None:
    assert 100 == MAX_CONSECUTIVE_FAILURES
