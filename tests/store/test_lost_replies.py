"""Lost replies: a change is made once, however often the call is repeated (R83)."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import TimeoutError as TimedOut

from otp_service.core.challenge import ChallengeStatus
from otp_service.core.errors import (
    ChallengeAlreadyVerified,
    IncorrectCode,
    RateLimited,
    StoreUnavailable,
)
from otp_service.core.limits import DEFAULT_LIMITS, Algorithm, Limit, Window
from otp_service.store import client
from otp_service.store.client import ScriptClient
from otp_service.store.commit_request import COMMIT_LUA, read_lua
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from otp_service.store.lua_script import LuaScript
from tests.installation import SECOND_MS, Installation, make_wrong_code
from tests.store import redis_servers
from tests.store.faulty_proxy import ConnectionFailure, FaultyProxy
from tests.store.lua import replace_function
from tests.store.redis_servers import WAIT_TIMEOUT_SECONDS


TRIES = client.MAX_LOST_REPLIES
"""A reply may be lost this often, less once."""

CLAIM, WIN, LOSE = b"otp.attempted", b"otp.verified", b"otp.rejected"
OWN, OTHERS, CREATE, NOTE = b"CooldownPerNumber", b"SendsOverall", b"otp.issued", b"otp.sent"
GIVE_BACK, READ = b"undo-", LuaScript(read_lua("fetch")).sha.encode()

lost = pytest.mark.parametrize(
    ("fate", "times"),
    [
        (fate, times)
        for fate in (ConnectionFailure.LOST_REPLY, ConnectionFailure.LOST_REQUEST)
        for times in (1, 2, TRIES - 1)
    ],
    ids=lambda value: value.name if isinstance(value, ConnectionFailure) else str(value),
)


@pytest.fixture
async def proxy(server: EmbeddedServer) -> AsyncIterator[FaultyProxy]:
    """A bad network in front of an empty server."""
    redis_servers.flush_server(server)
    async with FaultyProxy(server) as proxy:
        yield proxy


@pytest.fixture
async def world(proxy: FaultyProxy) -> AsyncIterator[Installation]:
    """The service behind the bad network."""
    async with ScriptClient(create_redis_lines(url=proxy.url, timeout_ms=5000)) as link:
        yield Installation(link)


async def holds(world: Installation) -> dict[str, Any]:
    """Return what each bucket holds, by its limit: instants, TATs or a row."""
    found: dict[str, Any] = {}
    link = ScriptClient(world.script_client.lines)  # the world's may be a broken one
    for key in await redis_servers.list_keys(link, "*:limit:*"):
        count, stored = await link.run_pipeline(key, [("HGET", key, "count"), ("GET", key)])
        name = key.split(":")[2]
        if isinstance(count, bytes):
            found[name] = int(count)
        elif Limit(name).algorithm is Algorithm.SLIDING_WINDOW:
            found[name] = msgspec.msgpack.decode(stored)[::2]
        else:
            *moved, _ = msgspec.msgpack.decode(stored)
            found[name] = [round(tat) for tat in moved]
    return found


async def attempts_left(world: Installation, challenge_id: str) -> int:
    """Return how many tries a challenge still admits."""
    stored = await world.store.fetch_challenge("shop", challenge_id)
    assert stored.challenge
    return stored.challenge.attempts_left


# ------------------------------------------------------------------------------------ an attempt


@lost
async def test_a_claim_is_charged_once(
    world: Installation, proxy: FaultyProxy, fate: ConnectionFailure, times: int
) -> None:
    """R83: one attempt, one failure in each bucket, one comparison, one event."""
    issued = await world.issue(account="u-81")
    proxy.fail_next(fate, CLAIM, times=times)

    with pytest.raises(IncorrectCode) as refusal:
        await world.verify(issued, make_wrong_code(world.router.extract_code()))

    assert (times, 1) == (proxy.failed_count, world.hasher.hash_count - 1)
    assert (
        4
        == refusal.value.attempts_left
        == await attempts_left(world, world.get_challenge_id(issued))
    )
    held = await holds(world)
    assert (1, 1) == (len(held["FailuresPerNumber"]), held["ConsecutiveFailuresPerNumber"])
    assert 1 == (await world.list_event_types()).count("otp.attempted")


@lost
async def test_a_success_is_told_once(
    world: Installation, proxy: FaultyProxy, fate: ConnectionFailure, times: int
) -> None:
    """R83: redis-py's own retry answered the right code with 'rejected'."""
    issued = await world.issue()
    code = world.router.extract_code()
    proxy.fail_next(fate, WIN, times=times)

    verified = await world.verify(issued, code)

    assert verified.challenge
    assert ChallengeStatus.VERIFIED == verified.challenge.compute_status(verified.now)
    assert times == proxy.failed_count
    with pytest.raises(ChallengeAlreadyVerified):
        await world.verify(issued, code)
    assert 1 == (await world.list_event_types()).count("otp.verified")
    assert {"FailuresPerNumber", "ConsecutiveFailuresPerNumber"}.isdisjoint(await holds(world))


@lost
async def test_a_failure_is_recorded_once(
    world: Installation, proxy: FaultyProxy, fate: ConnectionFailure, times: int
) -> None:
    """R83: the outcome of a comparison is one event."""
    issued = await world.issue()
    proxy.fail_next(fate, LOSE, times=times)

    with pytest.raises(IncorrectCode):
        await world.verify(issued, make_wrong_code(world.router.extract_code()))

    assert 1 == (await world.list_event_types()).count("otp.rejected")


@lost
@pytest.mark.parametrize("call", ["verify", "view"])
async def test_a_read_may_be_lost(
    world: Installation, proxy: FaultyProxy, fate: ConnectionFailure, times: int, call: str
) -> None:
    """Reading twice is harmless."""
    issued = await world.issue()
    code = world.router.extract_code()
    proxy.fail_next(fate, READ, times=times)

    if call == "verify":
        found = await world.verify(issued, code)
    else:
        found = await world.service.get_challenge(
            world.build_caller(), world.get_challenge_id(issued)
        )

    assert found.challenge
    assert times == proxy.failed_count


# ------------------------------------------------------------------------------------ an issue


@lost
@pytest.mark.parametrize("step", [OWN, OTHERS, CREATE, NOTE], ids=bytes.decode)
async def test_an_issue_sends_one_message_and_charges_it_once(
    world: Installation, proxy: FaultyProxy, fate: ConnectionFailure, times: int, step: bytes
) -> None:
    """R83: whichever of its commits loses its reply."""
    proxy.fail_next(fate, step, times=times)

    issued = await world.issue(account="u-81", client_ip="203.0.113.9")

    assert (times, 1) == (proxy.failed_count, len(world.router.messages))
    told = await world.list_event_types()
    assert (1, 1) == (told.count("otp.issued"), told.count("otp.sent"))
    now, held = issued.now, await holds(world)
    assert all(1 == len(held[limit]) for limit in ("CooldownPerNumber", "SendsPerNumber"))
    # Of the buckets of others those that are not empty again within a second.
    for limit in ("SendsPerAccount", "SendsPerPrefix", "SendsPerClientAddress"):
        each = [
            window.period_seconds * SECOND_MS / window.count
            for window in DEFAULT_LIMITS[Limit(limit)]
        ]
        began = [tat - one for tat, one in zip(held[limit], each, strict=True)]
        assert all(now - 60 * SECOND_MS < instant <= now for instant in began), limit
    await world.verify(issued, world.router.extract_code())


@lost
async def test_a_resend_is_one_message_too(
    world: Installation, proxy: FaultyProxy, fate: ConnectionFailure, times: int
) -> None:
    """R83: and one send fewer."""
    issued = await world.issue()
    world.advance_clock(30 * SECOND_MS)
    proxy.fail_next(fate, b"otp.resent", times=times)

    resent = await world.resend(issued)

    assert 2 == len(world.router.messages)
    assert resent.challenge
    assert 1 == resent.challenge.sends_left
    assert 1 == (await world.list_event_types()).count("otp.resent")


@lost
async def test_a_give_back_applies_once(
    world: Installation, proxy: FaultyProxy, fate: ConnectionFailure, times: int
) -> None:
    """R83: refunded twice, the buckets of others would admit sends that were not charged."""
    # Of the default limits of these two a send is forgotten within a second, which this may last.
    slow = dict.fromkeys((Limit.SENDS_TENANT, Limit.SENDS_OVERALL), (Window(100, 3600),))
    rates = {**DEFAULT_LIMITS, **slow, Limit.SENDS_COUNTRY: (Window(1, 3600),)}
    world.tenants["shop"] = msgspec.structs.replace(world.tenants["shop"], limits=rates)
    await world.issue("+447400123451", client_ip="203.0.113.9")
    before = await holds(world)
    # The number's own, and the caller's.
    proxy.fail_next(fate, GIVE_BACK, b"SendsPerNumber", times=times)
    proxy.fail_next(fate, GIVE_BACK, b"SendsPerTenant", times=times)

    with pytest.raises(RateLimited):
        await world.issue("+447400123452", client_ip="203.0.113.9")

    # Each of the two was due when the other broke their connection: it may have been given up.
    assert 0 == await world.dependencies.refunds.drain(WAIT_TIMEOUT_SECONDS)
    assert 2 * times == proxy.failed_count
    assert before == await holds(world)
    assert 1 == (await world.list_event_types()).count("otp.issue_denied")


@lost
async def test_a_refusal_is_told_once(
    world: Installation, proxy: FaultyProxy, fate: ConnectionFailure, times: int
) -> None:
    """R83: who asks again is refused by the same limit, and there is one event of it."""
    await world.issue()
    proxy.fail_next(fate, b"otp.issue_denied", times=times)

    with pytest.raises(RateLimited) as refusal:
        await world.issue()

    assert ("CooldownPerNumber", times) == (refusal.value.limit, proxy.failed_count)
    assert 1 == (await world.list_event_types()).count("otp.issue_denied")


@lost
async def test_a_key_is_claimed_once(
    world: Installation, proxy: FaultyProxy, fate: ConnectionFailure, times: int
) -> None:
    """R53: a lost reply must not look like another call's claim on the Idempotency-Key."""
    proxy.fail_next(fate, b":idempotency:", times=times)

    issued = await world.issue(key="k")

    assert times == proxy.failed_count
    assert world.get_challenge_id(issued) == world.get_challenge_id(await world.issue(key="k"))
    assert 1 == len(world.router.messages)


# ------------------------------------------------------------------------------------ too often


async def unavailable(call: Any) -> None:
    """The store is in doubt, and says so."""
    with pytest.raises(StoreUnavailable):
        await call


@pytest.mark.parametrize("fate", [ConnectionFailure.LOST_REPLY, ConnectionFailure.LOST_REQUEST])
@pytest.mark.parametrize("step", [READ, CLAIM], ids=["read", "claim"])
async def test_after_too_many_losses_nothing_is_compared(
    world: Installation, proxy: FaultyProxy, fate: ConnectionFailure, step: bytes
) -> None:
    """R77: 503; what was charged stays charged, once."""
    issued = await world.issue()
    code, runs = world.router.extract_code(), world.hasher.hash_count
    proxy.fail_next(fate, step, times=TRIES)

    await unavailable(world.verify(issued, code))

    assert runs == world.hasher.hash_count
    charged = step == CLAIM and fate is ConnectionFailure.LOST_REPLY
    assert 5 - charged == await attempts_left(world, world.get_challenge_id(issued))
    await world.verify(issued, code)


@pytest.mark.parametrize("fate", [ConnectionFailure.LOST_REPLY, ConnectionFailure.LOST_REQUEST])
@pytest.mark.parametrize("step", [OWN, OTHERS, CREATE], ids=bytes.decode)
async def test_after_too_many_losses_nothing_is_sent(
    world: Installation, proxy: FaultyProxy, fate: ConnectionFailure, step: bytes
) -> None:
    """R77: 503, whichever commit of the issue is in doubt."""
    proxy.fail_next(fate, step, times=TRIES)

    await unavailable(world.issue())

    assert [] == world.router.messages


async def test_a_success_whose_replies_are_all_lost_is_not_told_but_stands(
    world: Installation, proxy: FaultyProxy
) -> None:
    """R4: 503, and the code is used up: never a second success."""
    issued = await world.issue()
    code = world.router.extract_code()
    # More often than TRIES, because the refunds that share the connection may be the reason too.
    proxy.fail_next(ConnectionFailure.LOST_REPLY, WIN, times=10**6)

    await unavailable(world.verify(issued, code))

    proxy.clear_failures()
    with pytest.raises(ChallengeAlreadyVerified):
        await world.verify(issued, code)


async def test_a_message_that_went_out_is_not_sent_again_under_its_key(
    world: Installation, proxy: FaultyProxy
) -> None:
    """R53: 503 after the message does not free the key; the repeat finds its challenge."""
    proxy.fail_next(ConnectionFailure.LOST_REPLY, NOTE, times=TRIES)
    await unavailable(world.issue(key="k"))

    world.advance_clock(60 * SECOND_MS)
    again = await world.issue(key="k")

    assert 1 == len(world.router.messages)
    await world.verify(again, world.router.extract_code())


async def test_silence_is_a_lost_reply_too(proxy: FaultyProxy) -> None:
    """R83: bounded by the timeout of the client; no other call reads the late reply."""
    async with ScriptClient(create_redis_lines(url=proxy.url, timeout_ms=300)) as link:
        world = Installation(link)
        issued = await world.issue()
        proxy.fail_next(ConnectionFailure.SILENCE, CLAIM, times=2)

        await world.verify(issued, world.router.extract_code())

        assert 1 == (await world.list_event_types()).count("otp.attempted")
        proxy.fail_next(ConnectionFailure.SILENCE, READ, times=TRIES)
        async with asyncio.timeout(3):
            await unavailable(world.verify(issued, world.router.extract_code()))
        assert 2 + client.MAX_CALL_TIMEOUTS == proxy.failed_count


# ------------------------------------------------------------- these tests can fail: broken stores


class FreshOperations(ScriptClient):
    """Broken on purpose: every try is an operation of its own."""

    async def run_script(
        self, script: LuaScript, keys: Sequence[str], arguments: Sequence[bytes], **options: Any
    ) -> Any:
        """Run it as if it had never been tried."""
        return await super().run_script(script, _rename_operations(keys), arguments, **options)


def _rename_operations(keys: Sequence[str]) -> list[str]:
    return [f"{key}{secrets.token_hex(4)}" if ":operation:" in key else key for key in keys]


class BlindRetries(ScriptClient):
    """Broken on purpose: it repeats what it likes, as redis-py does by default."""

    async def run_script(self, *arguments: Any, **options: Any) -> Any:
        """Repeat it up to three times below those who know its operation."""
        for _ in range(3):
            with suppress(Disconnected, TimedOut):
                return await super().run_script(*arguments, **options)
        return await super().run_script(*arguments, **options)


@pytest.fixture(params=[FreshOperations, BlindRetries])
async def broken(request: pytest.FixtureRequest, proxy: FaultyProxy) -> AsyncIterator[Installation]:
    """A service whose store knows no operations."""
    async with request.param(create_redis_lines(url=proxy.url, timeout_ms=5000)) as link:
        world = Installation(link)
        await world.issue("+447400123450")
        if request.param is BlindRetries:
            forgetful = replace_function(COMMIT_LUA, "read_previous_reply", "return nil")
            world.store._commit_script = LuaScript(forgetful)
        yield world


async def test_without_operations_a_lost_reply_costs_two_attempts(
    broken: Installation, proxy: FaultyProxy
) -> None:
    """This shows that the tests above fail on such a store."""
    issued = await broken.issue()
    proxy.fail_next(ConnectionFailure.LOST_REPLY, CLAIM)

    with pytest.raises(IncorrectCode):
        await broken.verify(issued, make_wrong_code(broken.router.extract_code()))

    assert 3 == await attempts_left(broken, broken.get_challenge_id(issued))
    assert 2 == len((await holds(broken))["FailuresPerNumber"])


async def test_without_operations_a_right_code_is_told_wrong(
    broken: Installation, proxy: FaultyProxy
) -> None:
    """As was measured with redis-py 8.1."""
    issued = await broken.issue()
    proxy.fail_next(ConnectionFailure.LOST_REPLY, WIN)

    with pytest.raises(ChallengeAlreadyVerified):
        await broken.verify(issued, broken.router.extract_code())


async def test_without_operations_a_send_is_charged_and_not_sent(
    broken: Installation, proxy: FaultyProxy
) -> None:
    """The repeat meets the cooldown that the first call began."""
    proxy.fail_next(ConnectionFailure.LOST_REPLY, OWN)

    with pytest.raises(RateLimited):
        await broken.issue()

    assert 1 == len(broken.router.messages)  # the fixture's


@pytest.mark.parametrize("broken", [BlindRetries], indirect=True)
async def test_without_the_record_of_a_charge_a_give_back_applies_twice(
    broken: Installation, proxy: FaultyProxy
) -> None:
    """Two sends become as cheap as one."""
    refund_always = """local refunds = {}
      for i, packed in ipairs(request.refunds) do refunds[i] = unpack_operation(packed) end
      return refunds, {}, true, {}"""
    forgetful = replace_function(COMMIT_LUA, "read_previous_reply", "return nil")
    source = replace_function(forgetful, "find_refunds", refund_always)
    broken.store._commit_script = LuaScript(source)
    rates = {**DEFAULT_LIMITS, Limit.SENDS_COUNTRY: (Window(2, 3600),)}  # one is the fixture's
    broken.tenants["shop"] = msgspec.structs.replace(broken.tenants["shop"], limits=rates)
    await broken.issue("+447400123451", client_ip="203.0.113.9")
    before = await holds(broken)
    proxy.fail_next(ConnectionFailure.LOST_REPLY, GIVE_BACK, times=12)

    with pytest.raises((RateLimited, StoreUnavailable)):
        await broken.issue("+447400123452", client_ip="203.0.113.9")

    assert before != await holds(broken)
