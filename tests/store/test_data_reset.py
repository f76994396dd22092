"""Deleting what tests have left, and the mark that keeps it away from live data (A25)."""

from typing import Any

import pytest

from otp_service.core.commit import Commit
from otp_service.core.errors import ChallengeNotFound, RateLimited, StoreUnavailable
from otp_service.core.limits import Limit
from otp_service.core.ports import InboxMessage
from otp_service.core.pumping.allowance import Terms
from otp_service.core.pumping.commits import DebtCommit, KnownNumberName, TrafficName
from otp_service.core.pumping.decision import DebtCharge
from otp_service.core.pumping.scopes import DebtLimit, ScopeBucket
from otp_service.store.client import ScriptClient
from otp_service.store.data_reset import DataReset
from otp_service.store.message_inbox import RedisInbox
from otp_service.store.mode_mark import claim_mode, find_mode_issues, read_mode
from tests.installation import Installation


NUMBER = "+447700900123"
CLIENT: dict[str, Any] = {"account": "u-1", "client_ip": "127.0.0.1"}


@pytest.fixture
async def tests_installation(script_client: ScriptClient) -> Installation:
    """An installation whose Redis is marked as one of tests."""
    await claim_mode(script_client, "test")
    return Installation(script_client)


async def count_keys(installation: Installation) -> int:
    client = installation.script_client
    masters = await client.list_masters()
    return sum([await client.read_from(master, "DBSIZE") for master in masters])


async def test_a_reset_lets_tests_begin_anew(tests_installation: Installation) -> None:
    """Challenges, limits, cooldowns and messages are gone, and the same number works at once."""
    world = tests_installation
    inbox = RedisInbox(world.store, now=lambda: 1)
    issued = await world.issue(NUMBER, key="key-1", **CLIENT)
    await inbox.add(InboxMessage(NUMBER, "text", "inbox", "shop", 1), max_messages=9)
    with pytest.raises(RateLimited):
        await world.issue(NUMBER, **CLIENT)

    count = await DataReset(world.store, "test").delete_all("reset-1")

    assert 8 < count
    assert [] == await inbox.list_messages()
    with pytest.raises(ChallengeNotFound):
        await world.verify(issued, "123456")
    again = await world.issue(NUMBER, key="key-1", **CLIENT)
    await world.verify(again, world.router.extract_code(-1))


@pytest.mark.parametrize("is_start", [False, True])
async def test_a_reset_deletes_debts_and_what_is_learned_from(
    tests_installation: Installation, *, is_start: bool
) -> None:
    """A start of `dev` deletes the debts alone, as it does with limits."""
    world, bucket = tests_installation, ScopeBucket(DebtLimit.SPEND_OVERALL)
    charges = (DebtCharge(bucket, Terms((9, 9)), 1, is_always_charged=True),)
    known, traffic = KnownNumberName("shop", NUMBER), TrafficName("shop", "GB")
    debts = DebtCommit(charges=charges, known_number=known, is_assumed_known=True, traffic=traffic)
    await world.store.commit(Commit(partition=7, operation_id="1", debts=debts))
    kinds = ("debt:SpendOverall", "known", "traffic:", "traffic-index")
    assert [1] * 4 == [len(await world.list_keys(f"*:{kind}*")) for kind in kinds]

    reset = DataReset(world.store, "test")
    await (reset.delete_limit_state("2") if is_start else reset.delete_all("2"))

    left = [len(await world.list_keys(f"*:{kind}*")) for kind in kinds]
    assert [0, is_start, is_start, is_start] == left


async def test_a_reset_keeps_the_events(tests_installation: Installation) -> None:
    """The log is append-only in every mode."""
    await tests_installation.issue(NUMBER)
    before = await tests_installation.list_event_types()

    await DataReset(tests_installation.store, "test").delete_all("reset-1")

    assert before == await tests_installation.list_event_types()
    assert "test" == await read_mode(tests_installation.script_client)


async def test_a_restart_of_dev_keeps_challenges_and_cooldowns(
    tests_installation: Installation,
) -> None:
    """The other limits of the run before refuse nothing."""
    world = tests_installation
    issued = await world.issue(NUMBER, account="u-1")
    for _ in range(4):
        world.advance_clock(30_000)
        await world.issue(NUMBER, account="u-1")
    world.advance_clock(1000)

    await DataReset(world.store, "test").delete_limit_state("start-1")

    with pytest.raises(RateLimited) as refusal:
        await world.issue(NUMBER, account="u-1")
    assert Limit.COOLDOWN == refusal.value.limit
    world.advance_clock(30_000)
    await world.issue(NUMBER, account="u-1")
    await world.verify(issued, world.router.extract_code(0))


@pytest.mark.parametrize("mark", ["live", "development", None])
async def test_a_reset_deletes_nothing_in_a_redis_of_another_mode(
    script_client: ScriptClient, mark: Any
) -> None:
    """A test service with the Redis of production would delete the limits that protect people."""
    if mark:
        await claim_mode(script_client, mark)
    world = Installation(script_client)
    issued = await world.issue(NUMBER, **CLIENT)
    before = await count_keys(world)

    with pytest.raises(StoreUnavailable):
        await DataReset(world.store, "test").delete_all("reset-1")

    assert before == await count_keys(world)
    await world.verify(issued, world.router.extract_code())


async def test_the_data_of_a_live_service_have_no_reset(script_client: ScriptClient) -> None:
    """No mark, setting or call leads to one."""
    with pytest.raises(ValueError, match="live"):
        DataReset(Installation(script_client).store, "live")


async def test_a_redis_belongs_to_the_mode_of_its_first_service(
    script_client: ScriptClient,
) -> None:
    """The start of every other mode is refused, with the remedy."""
    assert [] == await find_mode_issues(script_client, "test")
    assert [] == await claim_mode(script_client, "live")
    assert await claim_mode(script_client, "test")  # as of two that start at the same time

    assert "live" == await read_mode(script_client)
    assert [] == await find_mode_issues(script_client, "live")
    ((setting, remedy),) = await find_mode_issues(script_client, "test")
    assert "redis.url" == setting
    assert "mode 'live'" in remedy
    assert "FLUSHALL" not in remedy


@pytest.mark.parametrize(
    ("mark", "mode", "times"),
    [("test", "live", 0), ("live", "test", 0), ("test", "development", 1)],
)
async def test_nobody_is_told_to_empty_the_redis_of_people(
    script_client: ScriptClient, mark: Any, mode: Any, times: int
) -> None:
    """A running live service says it too, and its Redis has the limits. Seen to fail with the mark alone."""
    await claim_mode(script_client, mark)

    ((_, remedy),) = await find_mode_issues(script_client, mode)

    assert times == remedy.count("FLUSHALL")
