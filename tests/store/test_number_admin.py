"""The do-not-send list, the numbers that are locked, and forgetting one."""

import os

import msgspec
import pytest

from otp_service.core import events
from otp_service.core.challenge import Challenge
from otp_service.core.charges import build_consecutive_failure_charge
from otp_service.core.commit import Commit
from otp_service.core.do_not_send import DoNotSendReason
from otp_service.core.errors import (
    ChallengeNotFound,
    IncorrectCode,
    NumberLocked,
    NumberNotAllowed,
    RateLimited,
)
from otp_service.core.keys import KEY_RING_NAMES, Key, KeyRing, ServiceKeys
from otp_service.core.limits import MAX_CONSECUTIVE_FAILURES, NUMBER_LIMITS, Limit, Window
from otp_service.core.phone_number import PhoneNumber, parse_number
from otp_service.core.ports import ErasedCounts
from otp_service.core.pumping.commits import DebtSettlement, KnownNumberName
from otp_service.store.client import ScriptClient
from otp_service.store.number_admin import NumberAdmin
from tests.installation import HOUR_MS, MINUTE_MS, Installation, make_wrong_code
from tests.store import redis_servers


PHONE, OTHER = parse_number("+447400123456"), parse_number("+447400123457")
TENANTS = ("shop", "bank")


@pytest.fixture
def world(script_client: ScriptClient) -> Installation:
    return Installation(script_client)


@pytest.fixture
def operators(world: Installation) -> NumberAdmin:
    return NumberAdmin(world.store, world.keys.pseudonym)


def operation() -> str:
    return os.urandom(16).hex()


def told(reason: str) -> events.BlocklistChanged:
    return events.BlocklistChanged(id=operation(), reason=reason)


async def forget(operators: NumberAdmin, phone: PhoneNumber = PHONE, **options) -> ErasedCounts:
    event = events.NumberErased(id=operation(), reason="by_operator")
    return await operators.erase_number(phone, event, operation(), tenants=TENANTS, **options)


async def fail(world: Installation, times: int) -> None:
    """Try one wrong code for each of so many challenges, slowly enough for every limit.

    All but the last three are charged at once.
    """
    if times > 3:
        row = build_consecutive_failure_charge(world.tenants["shop"], PHONE)
        await world.store.commit(
            Commit(
                partition=world.store.get_number_partition(PHONE.canonical),
                operation_id=operation(),
                charges=(msgspec.structs.replace(row, cost=times - 3, force=True),),
            )
        )
    for _ in range(min(times, 3)):
        world.advance_clock(3 * HOUR_MS)
        stored = await world.issue(PHONE.e164)
        with pytest.raises(IncorrectCode):
            await world.verify(stored, make_wrong_code(world.router.extract_code()))


# -------------------------------------------------------------------------- the do-not-send list


async def test_a_blocked_number_gets_no_message_until_it_is_unblocked(world, operators):
    """At no tenant; and other numbers do."""
    await operators.block_number(PHONE, told("blocked"), operation())

    for tenant in TENANTS:
        with pytest.raises(NumberNotAllowed) as refusal:
            await world.issue(PHONE.e164, tenant=tenant)
        assert "blocked" == refusal.value.reason_code
    await world.issue(OTHER.e164)

    await operators.unblock_number(PHONE, told("unblocked"), operation(), tenants=TENANTS)
    await world.issue(PHONE.e164)


async def test_each_change_of_the_list_is_an_event(world, operators):
    """In the number's partition, in the same step."""
    await operators.block_number(PHONE, told("blocked"), operation())
    await operators.unblock_number(PHONE, told("unblocked"), operation(), tenants=TENANTS)

    changes = [e["reason"] for e in await world.read_events() if e["type"] == "otp.blocklist"]
    assert ["blocked", "unblocked"] == changes


async def test_a_change_that_is_repeated_is_made_once(world, operators):
    """The operation id is recorded, so a lost reply has no effect."""
    same = operation()
    await operators.block_number(PHONE, told("blocked"), same)
    await operators.block_number(PHONE, told("blocked"), same)

    assert 1 == (await world.list_event_types()).count("otp.blocklist")


async def test_every_spelling_of_a_phone_is_blocked(world, operators):
    """A Palestinian mobile under its own code and under Israel's is one phone (R36)."""
    await operators.block_number(parse_number("+970599123456"), told("blocked"), operation())

    with pytest.raises(NumberNotAllowed) as refusal:
        await world.issue("+972599123456")
    assert "blocked" == refusal.value.reason_code


async def test_the_list_shows_masked_numbers(operators):
    """Redis holds them sealed; a number that was taken off is not there."""
    for phone in (PHONE, OTHER):
        await operators.block_number(phone, told("blocked"), operation())
    await operators.unblock_number(OTHER, told("unblocked"), operation(), tenants=TENANTS)

    listed = await operators.list_entries(DoNotSendReason.BLOCKED)
    assert [PHONE.masked] == [one.entry.masked for one in listed]


async def test_a_number_that_is_forgotten_is_known_at_no_tenant(world, operators):
    """Also one whose record is under another limit key would be; another number stays known."""
    store = world.store
    for phone, tenant in ((PHONE, "shop"), (PHONE, "bank"), (OTHER, "shop")):
        await store.commit(
            Commit(
                partition=store.get_number_partition(phone.canonical),
                operation_id=operation(),
                settlement=DebtSettlement(known_number=KnownNumberName(tenant, phone.canonical)),
            )
        )
    assert 3 == len(await world.list_keys("*:known:*"))

    await forget(operators)

    other = store.known_number_keys(KnownNumberName("shop", OTHER.canonical))
    assert other == [key.decode() for key in await world.list_keys("*:known:*")]


# -------------------------------------------------------------------------------- who is locked


async def test_locked_numbers_are_listed_with_their_tenant(world, operators):
    """Where they are, how often they failed and when, and which number, masked."""
    await fail(world, MAX_CONSECUTIVE_FAILURES)
    with pytest.raises(NumberLocked):
        await world.issue(PHONE.e164)

    (found,) = await operators.list_locked_numbers(world.tenants)

    assert ("shop", PHONE.masked, MAX_CONSECUTIVE_FAILURES) == (
        found.tenant,
        found.masked_number,
        found.failures,
    )
    assert found.last_failure_at > 0


async def test_failures_name_their_number_in_no_readable_form(world):
    """R68: a copy of Redis shows neither the number nor its mask; the list opens the record."""
    await fail(world, 1)
    (key,) = await world.list_keys("*:limit:ConsecutiveFailuresPerNumber:*")

    (fields,) = await world.script_client.read_each([key.decode()], "HGETALL")

    stored = b"".join(fields)
    assert not any(part in stored for part in (b"+44", b"7400123456", b"*56"))
    sealed = fields[fields.index(b"subject") + 1]
    assert PHONE.canonical.encode() == world.store.cipher.open_record(key.decode(), sealed)[1]


async def test_a_locked_number_is_listed_after_every_key_of_records_was_replaced(world):
    """The record is under the limit key alone, because it is kept for 90 days after the last failure."""
    await fail(world, MAX_CONSECUTIVE_FAILURES)
    rings = {name: KeyRing((Key("2", os.urandom(32)),)) for name in KEY_RING_NAMES}
    later = world.restart(keys=ServiceKeys(**rings | {"limit": world.keys.limit}))

    admin = NumberAdmin(later.store, later.keys.pseudonym)
    (found,) = await admin.list_locked_numbers(later.tenants)

    assert PHONE.masked == found.masked_number


async def test_a_subject_of_another_bucket_is_not_believed(world, operators):
    """The record is bound to the key name. The number stays locked, and the list says so."""
    await fail(world, MAX_CONSECUTIVE_FAILURES)
    (key,) = await world.list_keys("*:limit:ConsecutiveFailuresPerNumber:*")
    foreign = world.store.cipher.seal_constant(key.decode() + "x", OTHER.canonical.encode())
    await world.script_client.run_pipeline(key.decode(), [("HSET", key, "subject", foreign)])

    (found,) = await operators.list_locked_numbers(world.tenants)

    assert ("(unreadable)", MAX_CONSECUTIVE_FAILURES) == (found.masked_number, found.failures)
    with pytest.raises(NumberLocked):
        await world.issue(PHONE.e164)


async def test_a_shorter_row_is_listed_where_it_locks(world, operators):
    """Failing is human, but a tenant may be less patient than the ceiling."""
    await fail(world, 3)
    strict = {**world.tenants["shop"].limits, Limit.CONSECUTIVE_FAILURES: (Window(3, 90 * 86400),)}

    assert [] == await operators.list_locked_numbers(world.tenants)
    shop = msgspec.structs.replace(world.tenants["shop"], limits=strict)
    assert [3] == [one.failures for one in await operators.list_locked_numbers({"shop": shop})]


async def test_looking_tells_how_far_it_is(world, operators):
    """Millions of keys take their time."""
    await world.issue(PHONE.e164)
    heard = []

    await operators.list_locked_numbers(world.tenants, lambda done, of: heard.append((done, of)))

    assert heard
    assert all(done <= of for done, of in heard)


# -------------------------------------------------------------------------------------- forget


async def test_a_forgotten_number_begins_anew(world, operators):
    """All buckets at all tenants, and its challenges, are gone."""
    stored = await world.issue(PHONE.e164)
    with pytest.raises(RateLimited):
        await world.issue(PHONE.e164)

    gone = await forget(operators)

    assert 1 == gone.challenges
    assert 3 == gone.buckets, "cooldown, per number, per number and tenant"
    with pytest.raises(ChallengeNotFound):
        await world.verify(stored, world.router.extract_code())
    await world.issue(PHONE.e164)


async def test_nothing_about_it_is_left_in_redis_but_events(world, operators, script_client):
    """No live or ended challenge remains, for any tenant."""
    await fail(world, 1)
    world.advance_clock(MINUTE_MS)
    canceled = await world.issue(PHONE.e164, tenant="bank")
    await world.service.cancel(world.build_caller("bank"), world.get_challenge_id(canceled))

    assert 2 == (await forget(operators)).challenges

    partition = world.store.get_number_partition(PHONE.canonical)
    kept = {
        tuple(k.split(":")[1:3])
        for k in await redis_servers.list_keys(script_client, f"{{{partition:02d}}}:*")
    }
    # Buckets that other numbers share may be in this partition: the prefix's, the country's.
    persons = {kind for kind, *of in kept if kind != "limit" or set(of) & NUMBER_LIMITS}
    assert persons <= {"log", "events", "refusals", "folds", "due", "operation"}


async def test_other_numbers_keep_theirs(world, operators):
    """This includes numbers of the same partition."""
    neighbour = next(
        phone
        for phone in (parse_number(f"+4474001{n:05d}") for n in range(23457, 24000))
        if world.store.get_number_partition(phone.canonical)
        == world.store.get_number_partition(PHONE.canonical)
    )
    await world.issue(PHONE.e164)
    kept = await world.issue(neighbour.e164)

    assert 1 == (await forget(operators)).challenges

    assert await world.verify(kept, world.router.extract_code())


async def test_the_list_keeps_a_forgotten_number(world, operators):
    """A blocked number stays blocked after its data is deleted."""
    await operators.block_number(PHONE, told("blocked"), operation())

    await forget(operators)

    with pytest.raises(NumberNotAllowed):
        await world.issue(PHONE.e164)


async def test_forgetting_is_an_event_and_leaves_the_others(world, operators):
    """They are pseudonymous, and stay until their retention ends."""
    await world.issue(PHONE.e164)

    await forget(operators)

    assert ["otp.issued", "otp.sent", "otp.forgotten"] == await world.list_event_types()


async def test_challenges_are_found_after_a_rotation_of_the_pseudonyms(world):
    """They name the number by the key that was in force."""
    await world.issue(PHONE.e164)
    newer = KeyRing((Key("2", os.urandom(32)), *world.keys.pseudonym))

    assert 1 == (await forget(NumberAdmin(world.store, newer))).challenges


async def test_a_record_that_is_not_ours_stops_nobody(world, operators, script_client):
    """Another program wrote the record to Redis; the rest is still deleted."""
    issued = (await world.issue(PHONE.e164)).challenge
    assert isinstance(issued, Challenge)
    partition = int(issued.id[1:3])
    name = world.store.key_names.challenge_record_key(
        partition, "shop", f"c{partition:02d}-{'0' * 32}"
    )
    await script_client.run_pipeline(name, [("SET", name, b"forged")])

    assert 1 == (await forget(operators)).challenges
