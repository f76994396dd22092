"""Replies that are lost on their way: what was done is done once, whoever asks how often (R83)."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Disconnected

from otp_service.core.challenge import Status
from otp_service.core.errors import (
    ChallengeAlreadyVerified,
    IncorrectCode,
    RateLimited,
    StoreUnavailable,
)
from otp_service.core.limits import DEFAULTS, Limit, Window
from otp_service.store import pipeline
from otp_service.store.client import Link, Script
from otp_service.store.commit_request import COMMIT, FETCH
from otp_service.store.connect import connect
from otp_service.store.embedded import EmbeddedServer
from otp_service.store.pipeline import Command
from tests.installation import SECOND, World, wrong
from tests.store import redis_servers
from tests.store.faulty_proxy import Fate, Proxy


TRIES = pipeline.TRIES
"""A reply may be lost this often, less once."""

CLAIM, WIN, LOSE = b"otp.attempted", b"otp.verified", b"otp.rejected"
OWN, OTHERS, CREATE, NOTE = b"CooldownPerNumber", b"SendsOverall", b"otp.issued", b"otp.sent"
GIVE_BACK, READ = b"undo-", Script(FETCH).sha.encode()

lost = pytest.mark.parametrize(
    ("fate", "times"),
    [(fate, times) for fate in (Fate.LOSE_REPLY, Fate.LOSE_REQUEST) for times in range(1, TRIES)],
    ids=lambda value: value.name if isinstance(value, Fate) else str(value),
)


@pytest.fixture
async def proxy(server: EmbeddedServer) -> AsyncIterator[Proxy]:
    """A bad network in front of an empty server."""
    with redis_servers.client_of(server) as client:
        client.flushall()
    async with Proxy(server) as proxy:
        yield proxy


@pytest.fixture
async def world(proxy: Proxy) -> AsyncIterator[World]:
    """The service behind the bad network."""
    async with Link(connect(url=proxy.url, timeout=5000)) as link:
        yield World(link)


async def holds(world: World) -> dict[str, Any]:
    """Return what each bucket holds, by its limit: instants, TATs or a row."""
    found: dict[str, Any] = {}
    link = Link(world.link.client)  # the world's may be a broken one
    for key in await redis_servers.keys_of(link, "*:limit:*"):
        ask = [("ZRANGE", key, 0, -1), ("HGET", key, "count"), ("GET", key)]
        instants, count, tats = await link.together(key, ask)
        name = key.split(":")[2]
        if isinstance(instants, list):
            found[name] = instants
        elif isinstance(count, bytes):
            found[name] = int(count)
        else:
            found[name] = [round(tat) for tat in msgspec.msgpack.decode(tats)]
    return found


async def attempts_left(world: World, challenge_id: str) -> int:
    """Return how many tries a challenge still admits."""
    stored = await world.store.fetch("shop", challenge_id)
    assert stored.challenge
    return stored.challenge.attempts_left


# ------------------------------------------------------------------------------------ an attempt


@lost
async def test_a_claim_is_charged_once(world: World, proxy: Proxy, fate: Fate, times: int) -> None:
    """R83: one attempt, one failure in each bucket, one comparison, one event."""
    issued = await world.issue(account="u-81")
    proxy.will(fate, CLAIM, times=times)

    with pytest.raises(IncorrectCode) as refusal:
        await world.verify(issued, wrong(world.phones.code()))

    assert (times, 1) == (proxy.lost, world.hasher.runs - 1)
    assert 4 == refusal.value.attempts_left == await attempts_left(world, world.id_of(issued))
    held = await holds(world)
    assert (1, 1) == (len(held["FailuresPerNumber"]), held["FailuresInARowPerNumber"])
    assert 1 == (await world.told()).count("otp.attempted")


@lost
async def test_a_success_is_told_once(world: World, proxy: Proxy, fate: Fate, times: int) -> None:
    """R83: redis-py's own retry answered the right code with 'rejected'."""
    issued = await world.issue()
    code = world.phones.code()
    proxy.will(fate, WIN, times=times)

    verified = await world.verify(issued, code)

    assert verified.challenge
    assert Status.VERIFIED == verified.challenge.status(verified.now)
    assert times == proxy.lost
    with pytest.raises(ChallengeAlreadyVerified):
        await world.verify(issued, code)
    assert 1 == (await world.told()).count("otp.verified")
    assert {"FailuresPerNumber", "FailuresInARowPerNumber"}.isdisjoint(await holds(world))


@lost
async def test_a_failure_is_recorded_once(
    world: World, proxy: Proxy, fate: Fate, times: int
) -> None:
    """R83: the outcome of a comparison is one event."""
    issued = await world.issue()
    proxy.will(fate, LOSE, times=times)

    with pytest.raises(IncorrectCode):
        await world.verify(issued, wrong(world.phones.code()))

    assert 1 == (await world.told()).count("otp.rejected")


@lost
@pytest.mark.parametrize("call", ["verify", "view"])
async def test_a_read_may_be_lost(
    world: World, proxy: Proxy, fate: Fate, times: int, call: str
) -> None:
    """Reading twice is harmless."""
    issued = await world.issue()
    code = world.phones.code()
    proxy.will(fate, READ, times=times)

    if call == "verify":
        found = await world.verify(issued, code)
    else:
        found = await world.service.view(world.caller(), world.id_of(issued))

    assert found.challenge
    assert times == proxy.lost


# ------------------------------------------------------------------------------------ an issue


@lost
@pytest.mark.parametrize("step", [OWN, OTHERS, CREATE, NOTE], ids=bytes.decode)
async def test_an_issue_sends_one_message_and_charges_it_once(
    world: World, proxy: Proxy, fate: Fate, times: int, step: bytes
) -> None:
    """R83: whichever of its commits loses its reply."""
    proxy.will(fate, step, times=times)

    issued = await world.issue(account="u-81", client_ip="203.0.113.9")

    assert (times, 1) == (proxy.lost, len(world.phones.messages))
    told = await world.told()
    assert (1, 1) == (told.count("otp.issued"), told.count("otp.sent"))
    now, held = issued.now, await holds(world)
    assert all(1 == len(held[limit]) for limit in ("CooldownPerNumber", "SendsPerNumber"))
    # Of the buckets of others those that are not empty again within a second.
    for limit in ("SendsPerAccount", "SendsPerPrefix", "SendsPerClientAddress"):
        each = [window.period * SECOND / window.count for window in DEFAULTS[Limit(limit)]]
        began = [tat - one for tat, one in zip(held[limit], each, strict=True)]
        assert all(now - 60 * SECOND < instant <= now for instant in began), limit
    await world.verify(issued, world.phones.code())


@lost
async def test_a_resend_is_one_message_too(
    world: World, proxy: Proxy, fate: Fate, times: int
) -> None:
    """R83: and one send fewer."""
    issued = await world.issue()
    world.wait(30 * SECOND)
    proxy.will(fate, b"otp.resent", times=times)

    resent = await world.resend(issued)

    assert 2 == len(world.phones.messages)
    assert resent.challenge
    assert 1 == resent.challenge.sends_left
    assert 1 == (await world.told()).count("otp.resent")


@lost
async def test_a_give_back_applies_once(world: World, proxy: Proxy, fate: Fate, times: int) -> None:
    """R83: given back twice, the buckets of others would fill up with sends nobody paid."""
    rates = {**DEFAULTS, Limit.SENDS_ADDRESS: (Window(1, 3600),)}
    world.tenants["shop"] = msgspec.structs.replace(world.tenants["shop"], rates=rates)
    await world.issue("+447400123451", client_ip="203.0.113.9")
    before = await holds(world)
    # The number's own, and those of others.
    proxy.will(fate, GIVE_BACK, b"SendsPerNumber", times=times)
    proxy.will(fate, GIVE_BACK, b"SendsPerPrefix", times=times)

    with pytest.raises(RateLimited):
        await world.issue("+447400123452", client_ip="203.0.113.9")

    assert 2 * times == proxy.lost
    assert before == await holds(world)
    assert 1 == (await world.told()).count("otp.issue_denied")


@lost
async def test_a_refusal_is_told_once(world: World, proxy: Proxy, fate: Fate, times: int) -> None:
    """R83: who asks again is refused by the same limit, and there is one event of it."""
    await world.issue()
    proxy.will(fate, b"otp.issue_denied", times=times)

    with pytest.raises(RateLimited) as refusal:
        await world.issue()

    assert ("CooldownPerNumber", times) == (refusal.value.limit, proxy.lost)
    assert 1 == (await world.told()).count("otp.issue_denied")


@lost
async def test_a_key_is_claimed_once(world: World, proxy: Proxy, fate: Fate, times: int) -> None:
    """R53: a lost reply must not look like somebody else's claim on the Idempotency-Key."""
    proxy.will(fate, b":idempotency:", times=times)

    issued = await world.issue(key="k")

    assert times == proxy.lost
    assert world.id_of(issued) == world.id_of(await world.issue(key="k"))
    assert 1 == len(world.phones.messages)


# ------------------------------------------------------------------------------------ too often


async def unavailable(call: Any) -> None:
    """The store is in doubt, and says so."""
    with pytest.raises(StoreUnavailable):
        await call


@pytest.mark.parametrize("fate", [Fate.LOSE_REPLY, Fate.LOSE_REQUEST])
@pytest.mark.parametrize("step", [READ, CLAIM], ids=["read", "claim"])
async def test_after_too_many_losses_nothing_is_compared(
    world: World, proxy: Proxy, fate: Fate, step: bytes
) -> None:
    """R77: 503; what was charged stays charged, once."""
    issued = await world.issue()
    code, runs = world.phones.code(), world.hasher.runs
    proxy.will(fate, step, times=TRIES)

    await unavailable(world.verify(issued, code))

    assert runs == world.hasher.runs
    charged = step == CLAIM and fate is Fate.LOSE_REPLY
    assert 5 - charged == await attempts_left(world, world.id_of(issued))
    await world.verify(issued, code)


@pytest.mark.parametrize("fate", [Fate.LOSE_REPLY, Fate.LOSE_REQUEST])
@pytest.mark.parametrize("step", [OWN, OTHERS, CREATE], ids=bytes.decode)
async def test_after_too_many_losses_nothing_is_sent(
    world: World, proxy: Proxy, fate: Fate, step: bytes
) -> None:
    """R77: 503, whichever commit of the issue is in doubt."""
    proxy.will(fate, step, times=TRIES)

    await unavailable(world.issue())

    assert [] == world.phones.messages


async def test_a_success_whose_replies_are_all_lost_is_not_told_but_stands(
    world: World, proxy: Proxy
) -> None:
    """R4: 503, and the code is used up: never a second success."""
    issued = await world.issue()
    code = world.phones.code()
    proxy.will(Fate.LOSE_REPLY, WIN, times=TRIES)

    await unavailable(world.verify(issued, code))

    with pytest.raises(ChallengeAlreadyVerified):
        await world.verify(issued, code)


async def test_a_message_that_went_out_is_not_sent_again_under_its_key(
    world: World, proxy: Proxy
) -> None:
    """R53: 503 after the message does not free the key; the repeat finds its challenge."""
    proxy.will(Fate.LOSE_REPLY, NOTE, times=TRIES)
    await unavailable(world.issue(key="k"))

    world.wait(60 * SECOND)
    again = await world.issue(key="k")

    assert 1 == len(world.phones.messages)
    await world.verify(again, world.phones.code())


async def test_silence_is_a_lost_reply_too(proxy: Proxy) -> None:
    """R83: bounded by the link's timeout; the late answer is read by nobody else."""
    async with Link(connect(url=proxy.url, timeout=300)) as link:
        world = World(link)
        issued = await world.issue()
        proxy.will(Fate.SILENCE, CLAIM, times=TRIES - 1)

        await world.verify(issued, world.phones.code())

        assert 1 == (await world.told()).count("otp.attempted")
        proxy.will(Fate.SILENCE, READ, times=TRIES)
        async with asyncio.timeout(3):
            await unavailable(world.verify(issued, world.phones.code()))


# ------------------------------------------------------------- these tests can fail: broken stores


class FreshOperations(Link):
    """Broken on purpose: every try is an operation of its own."""

    async def together(self, key: str, commands: Sequence[Command]) -> list[Any]:
        """Run them as if they had never been tried."""
        return await super().together(key, [_as_new(command) for command in commands])


def _as_new(command: Command) -> Command:
    return tuple(
        f"{word}{secrets.token_hex(4)}" if isinstance(word, str) and ":operation:" in word else word
        for word in command
    )


class BlindRetries(Link):
    """Broken on purpose: redis-py repeats what it likes, as it does by default."""

    async def together(self, _: str, commands: Sequence[Command]) -> list[Any]:
        """Leave it to redis-py."""
        assert isinstance(self.client, Redis)
        self.client.set_retry(Retry(NoBackoff(), 3, supported_errors=(Disconnected,)))
        return [await self.client.execute_command(*command) for command in commands]


@pytest.fixture(params=[FreshOperations, BlindRetries])
async def broken(request: pytest.FixtureRequest, proxy: Proxy) -> AsyncIterator[World]:
    """A service whose store knows no operations."""
    async with request.param(connect(url=proxy.url, timeout=5000)) as link:
        world = World(link)
        await world.issue("+447400123450")  # redis-py has no scripts of ours yet
        if request.param is BlindRetries:
            forgetful = COMMIT.replace("if known then", "if false then")
            assert forgetful != COMMIT
            await link.client.script_load(forgetful)
            world.store._commit = Script(forgetful)
        yield world


async def test_without_operations_a_lost_reply_costs_two_attempts(
    broken: World, proxy: Proxy
) -> None:
    """So the tests above fail on such a store."""
    issued = await broken.issue()
    proxy.will(Fate.LOSE_REPLY, CLAIM)

    with pytest.raises(IncorrectCode):
        await broken.verify(issued, wrong(broken.phones.code()))

    assert 3 == await attempts_left(broken, broken.id_of(issued))
    assert 2 == len((await holds(broken))["FailuresPerNumber"])


async def test_without_operations_a_right_code_is_told_wrong(broken: World, proxy: Proxy) -> None:
    """As was measured with redis-py 8.1."""
    issued = await broken.issue()
    proxy.will(Fate.LOSE_REPLY, WIN)

    with pytest.raises(ChallengeAlreadyVerified):
        await broken.verify(issued, broken.phones.code())


async def test_without_operations_a_send_is_charged_and_not_sent(
    broken: World, proxy: Proxy
) -> None:
    """The repeat meets the cooldown that the first call began."""
    proxy.will(Fate.LOSE_REPLY, OWN)

    with pytest.raises(RateLimited):
        await broken.issue()

    assert 1 == len(broken.phones.messages)  # the fixture's


async def test_without_operations_a_give_back_applies_twice(broken: World, proxy: Proxy) -> None:
    """Two sends become as cheap as one."""
    rates = {**DEFAULTS, Limit.SENDS_ADDRESS: (Window(1, 3600),)}
    broken.tenants["shop"] = msgspec.structs.replace(broken.tenants["shop"], rates=rates)
    await broken.issue("+447400123451", client_ip="203.0.113.9")
    before = await holds(broken)
    proxy.will(Fate.LOSE_REPLY, GIVE_BACK, times=12)

    with pytest.raises((RateLimited, StoreUnavailable)):
        await broken.issue("+447400123452", client_ip="203.0.113.9")

    assert before != await holds(broken)
