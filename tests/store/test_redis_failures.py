"""Redis away, full, read-only, busy, forgetful: nothing is compared, nothing sent, 503 (R77).

And it recovers by itself: no test here restarts the service, or makes another link.
"""

import asyncio
import contextlib
import random
import shutil
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import redis
from redis.asyncio.connection import AbstractConnection

from otp_service.core.challenge import ChallengeStatus
from otp_service.core.errors import (
    ChallengeNotFound,
    IncorrectCode,
    OtpError,
    RateLimited,
    StoreUnavailable,
)
from otp_service.core.limits import DEFAULT_LIMITS, Bucket, Charge, Limit, LimitRefusal, Window
from otp_service.core.ports import ChallengeSnapshot, Commit
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_client
from otp_service.store.embedded import EmbeddedServer
from tests.installation import SECOND_MS, Installation, gather_results, make_wrong_code
from tests.store import redis_servers
from tests.store.faulty_proxy import FaultyProxy


ALWAYS = 10**9

BOUND = 5.0
"""Seconds within which everybody has an answer, on a machine that is busy with other tests."""


class Scene:
    """A live challenge under attack, and what has been charged so far."""

    def __init__(
        self, world: Installation, issued: ChallengeSnapshot, before: dict[str, int]
    ) -> None:
        self.world, self.issued, self._before = world, issued, before
        self.code = world.router.extract_code()
        self._runs, self._sent = world.hasher.hash_count, len(world.router.messages)

    @classmethod
    async def begin(cls, world: Installation) -> "Scene":
        """Issue a code and make one mistake with it."""
        issued = await world.issue(account="u-81", client_ip="203.0.113.9")
        with pytest.raises(IncorrectCode):
            await world.verify(issued, make_wrong_code(world.router.extract_code()))
        world.advance_clock(30 * SECOND_MS)
        return cls(world, issued, await counters(world))

    async def is_closed(self, *, tries: int = 100) -> None:
        """Right and wrong codes, issues and resends: each is told 503 in time, and nothing more."""
        world, issued = self.world, self.issued
        calls = [
            world.verify(issued, make_wrong_code(self.code, i % 2 * (i + 1))) for i in range(tries)
        ]
        calls += [world.issue(f"+4474001{i:05d}") for i in range(10)]
        calls += [world.issue(key=f"k{i}") for i in range(3)]
        calls += [world.resend(issued), world.resend(issued, key="k")]
        async with asyncio.timeout(BOUND):
            answers = await gather_results(*calls)

        assert {StoreUnavailable} == {type(answer) for answer in answers}
        self.has_cost_nothing()

    def has_cost_nothing(self) -> None:
        """Nothing was compared, and nothing sent."""
        assert self._runs == self.world.hasher.hash_count
        assert self._sent == len(self.world.router.messages)

    async def is_open_again(self) -> None:
        """No counter was lost, the live code verifies, and others get theirs."""
        after = await counters(self.world)
        assert all(after.get(name, 0) >= count for name, count in self._before.items())
        verified = await self.world.verify(self.issued, self.code)
        assert verified.challenge
        assert ChallengeStatus.VERIFIED == verified.challenge.compute_status(verified.now)
        other = await self.world.issue("+447400999999")
        await self.world.verify(other, self.world.router.extract_code())


async def counters(world: Installation) -> dict[str, int]:
    """Return what has been counted: instants, rows, and attempts that are gone."""
    found = {}
    for name in sorted(await redis_servers.list_keys(world.script_client, "*:limit:*")):
        for command, field in (("ZCARD", ()), ("HGET", ("count",))):
            (count,) = await world.script_client.run_pipeline(name, [(command, name, *field)])
            if not isinstance(count, Exception):
                found[name] = int(count or 0)
    for name in await redis_servers.list_keys(world.script_client, "*:challenge:*"):
        *_, id_ = name.split(":")
        stored = await world.store.fetch_challenge("shop", id_)
        assert stored.challenge
        found[name] = 5 - stored.challenge.attempts_left
    return found


@contextlib.asynccontextmanager
async def world_on(server: EmbeddedServer, **options: Any) -> AsyncIterator[Installation]:
    """The service on this server, impatient."""
    async with ScriptClient(
        create_redis_client(url=server.url, **{"timeout_ms": 250} | options)
    ) as link:
        yield Installation(link)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """A server that may be ill-treated; its address stays when it is started again."""
    with redis_servers.start_server(
        tmp_path / "data", port=redis_servers.find_free_port()
    ) as server:
        yield server


@pytest.fixture
def admin(own: EmbeddedServer) -> Iterator[redis.Redis]:
    """Whoever ill-treats it."""
    with redis_servers.open_client(own) as client:
        yield client


# ------------------------------------------------------------------------------------ away


async def test_while_redis_is_away_everything_is_refused_and_then_it_goes_on(
    own: EmbeddedServer, admin: redis.Redis
) -> None:
    """R77, R78: killed, and started again over the same files; live challenges verify."""
    # With everysec, a disk that is busy may hold back what was answered within the last seconds.
    admin.config_set("appendfsync", "always")
    async with world_on(own) as world:
        scene = await Scene.begin(world)
        redis_servers.kill_server(own)

        await scene.is_closed()

        own.stop()
        own.start()
        await scene.is_open_again()


async def test_a_redis_that_lost_everything_verifies_nothing_old(own: EmbeddedServer) -> None:
    """R78, R79: who comes with an old code is sent back to the start."""
    async with world_on(own) as world:
        scene = await Scene.begin(world)
        redis_servers.kill_server(own)
        own.stop()
        shutil.rmtree(own.data)
        own.start()

        with pytest.raises(ChallengeNotFound):
            await world.verify(scene.issued, scene.code)

        scene.has_cost_nothing()
        again = await world.issue()
        await world.verify(again, world.router.extract_code())
        assert "log.epoch" == (await world.read_events())[0]["type"]


async def test_what_is_lost_while_it_is_sent_is_no_success(own: EmbeddedServer) -> None:
    """R79: the message is out, and there is no challenge that its code could answer."""
    async with world_on(own) as world:

        async def forget() -> None:
            with redis_servers.open_client(own) as client:
                client.flushall()

        world.router.on_send = forget
        with pytest.raises(StoreUnavailable):
            await world.issue()


# ------------------------------------------------------------------------------ there, and unfit


async def test_a_full_redis_refuses_everything(own: EmbeddedServer, admin: redis.Redis) -> None:
    """R76, R77: reading still works when memory is full, so this is about the claim."""
    async with world_on(own) as world:
        scene = await Scene.begin(world)
        admin.config_set("maxmemory", 1)

        assert (
            await world.store.fetch_challenge("shop", world.get_challenge_id(scene.issued))
        ).challenge
        await scene.is_closed()

        admin.config_set("maxmemory", 0)
        await scene.is_open_again()


async def test_a_redis_that_became_a_replica_refuses_everything(
    own: EmbeddedServer, admin: redis.Redis
) -> None:
    """R77: READONLY, as after a failover that we have not heard of."""
    async with world_on(own) as world:
        scene = await Scene.begin(world)
        admin.replicaof("127.0.0.1", redis_servers.find_free_port())

        await scene.is_closed()

        admin.replicaof("NO", "ONE")
        await scene.is_open_again()


async def test_a_redis_without_its_replicas_refuses_everything(
    own: EmbeddedServer, admin: redis.Redis
) -> None:
    """R78: min-replicas-to-write."""
    async with world_on(own) as world:
        scene = await Scene.begin(world)
        admin.config_set("min-replicas-to-write", 1)

        await scene.is_closed()

        admin.config_set("min-replicas-to-write", 0)
        await scene.is_open_again()


async def test_a_claim_that_no_replica_has_is_not_compared(own: EmbeddedServer) -> None:
    """R79, design 8: WAIT behind claim, success and issue; it stays charged."""
    async with world_on(own) as world:
        scene = await Scene.begin(world)
        strict = ScriptClient(world.script_client.redis_client, replicas=1, wait_ms=10)
        world.store.client = strict

        with pytest.raises(StoreUnavailable):
            await world.verify(scene.issued, scene.code)
        scene.has_cost_nothing()
        with pytest.raises(StoreUnavailable):
            await world.issue("+447400999998")

        assert 1 == len(world.router.messages)
        world.store.client = world.script_client
        stored = await world.store.fetch_challenge("shop", world.get_challenge_id(scene.issued))
        assert stored.challenge
        assert 3 == stored.challenge.attempts_left


@pytest.mark.parametrize("call", ["verify", "resend"])
async def test_what_no_replica_has_is_neither_told_nor_sent(
    own: EmbeddedServer, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R79, design 8: the replica is gone by the time that argon2 has run."""
    async with world_on(own) as world:
        scene = await Scene.begin(world)
        more = (scene.code,) if call == "verify" else ()
        slow = world.hasher.compute_argon2id

        async def meanwhile(code: str, salt: bytes) -> bytes:
            world.store.client = ScriptClient(
                world.script_client.redis_client, replicas=1, wait_ms=10
            )
            return await slow(code, salt)

        monkeypatch.setattr(world.hasher, "compute_argon2id", meanwhile)
        with pytest.raises(StoreUnavailable):
            await getattr(world, call)(scene.issued, *more)

        assert 1 == len(world.router.messages)


async def test_a_busy_redis_refuses_everything(own: EmbeddedServer, admin: redis.Redis) -> None:
    """R77: another client's endless script: first no reply, then BUSY."""
    admin.config_set("busy-reply-threshold", 300)
    async with world_on(own, timeout_ms=100) as world:
        scene = await Scene.begin(world)
        with redis_servers.open_client(own) as client:
            endless = threading.Thread(target=_swallow, args=(client, "while true do end"))
            endless.start()
            try:
                await asyncio.to_thread(_until_it_is_taken, own)
                await scene.is_closed(tries=50)  # silence
                await scene.is_closed(tries=50)  # BUSY
            finally:
                admin.script_kill()
                endless.join()
        await scene.is_open_again()


def _swallow(client: redis.Redis, script: str) -> None:
    with contextlib.suppress(redis.RedisError):
        client.eval(script, 0)


def _until_it_is_taken(server: EmbeddedServer) -> None:
    """Return once the script has begun: what comes before it is served as ever."""
    with (
        redis.Redis.from_url(server.url, socket_timeout=0.1) as client,
        contextlib.suppress(redis.RedisError),
    ):
        while client.ping():
            pass


async def test_a_silent_redis_keeps_nobody_waiting(own: EmbeddedServer, admin: redis.Redis) -> None:
    """R77, R85: it hangs for longer than anybody waits; what it does later charges no one twice."""
    async with world_on(own, timeout_ms=100) as world:
        scene = await Scene.begin(world)
        with redis_servers.suspend_server(own):
            await scene.is_closed()

        admin.ping()  # until it has worked off what it was sent
        await scene.is_open_again()


ERRORS = {
    "LOADING": "LOADING Redis is loading the dataset in memory",
    "BUSY": "BUSY Redis is busy running a script. You can only call SCRIPT KILL.",
    "OOM": "OOM command not allowed when used memory > 'maxmemory'.",
    "READONLY": "READONLY You can't write against a read only replica.",
    "MISCONF": "MISCONF Errors writing to the AOF file: No space left on device",
    "NOREPLICAS": "NOREPLICAS Not enough good replicas to write.",
    "MASTERDOWN": "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is 'no'.",
    "CLUSTERDOWN": "CLUSTERDOWN The cluster is down",
    "TRYAGAIN": "TRYAGAIN Multiple keys request during rehashing of slot",
    "MOVED": "MOVED 3999 127.0.0.1:1",
    "NOSCRIPT": "NOSCRIPT No matching script. Please use EVAL.",
    "NOAUTH": "NOAUTH Authentication required.",
    "NOPERM": "NOPERM User otp has no permissions to run the 'evalsha' command",
    "WRONGTYPE": "WRONGTYPE Operation against a key holding the wrong kind of value",
    "a bug": "ERR user_script:42: Script attempted to access nonexistent global variable",
}


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("about", [b"", b":operation:"], ids=["everything", "every change"])
async def test_whatever_error_redis_answers_with_it_is_503(
    server: EmbeddedServer, error: str, about: bytes
) -> None:
    """R77: no error means yes; to reads and changes, and to changes alone."""
    async with (
        FaultyProxy(server) as proxy,
        ScriptClient(create_redis_client(url=proxy.url, timeout_ms=5000)) as link,
    ):
        with redis_servers.open_client(server) as client:
            client.flushall()
        scene = await Scene.begin(Installation(link))
        proxy.fail_next(f"-{ERRORS[error]}\r\n".encode(), about, times=ALWAYS)

        await scene.is_closed(tries=10)

        proxy.clear_failures()
        await scene.is_open_again()


async def test_an_answer_that_makes_no_sense_is_no_yes(server: EmbeddedServer) -> None:
    """R77: nothing of another shape is taken for 'done'."""
    async with (
        FaultyProxy(server) as proxy,
        ScriptClient(create_redis_client(url=proxy.url, timeout_ms=5000)) as link,
    ):
        with redis_servers.open_client(server) as client:
            client.flushall()
        scene = await Scene.begin(Installation(link))
        for answer in (b"$-1\r\n", b"*0\r\n", b":1\r\n", b"+OK\r\n", b"*1\r\n$4\r\nDONE\r\n"):
            proxy.fail_next(answer, b":operation:", times=ALWAYS)
            answers = await gather_results(
                scene.world.verify(scene.issued, scene.code), scene.world.issue("+447400999998")
            )
            assert all(isinstance(one, Exception) for one in answers)
            proxy.clear_failures()

        scene.has_cost_nothing()


async def test_forgotten_scripts_are_nobodys_business(own: EmbeddedServer) -> None:
    """R82: SCRIPT FLUSH under load; no error surfaces, and all is done once."""
    async with world_on(own, timeout_ms=5000) as world:

        async def flush() -> None:
            while True:
                await world.script_client.run_pipeline("", [("SCRIPT", "FLUSH", "SYNC")])
                await asyncio.sleep(0.001)  # between two of its flushes others come in

        async def live(i: int) -> None:
            issued = await world.issue(f"+4474001{i:05d}", client_ip=f"203.0.113.{i}")
            numbers = [message.to.e164[-5:] for message in world.router.messages]
            await world.verify(issued, world.router.extract_code(numbers.index(f"{i:05d}")))

        flushing = asyncio.create_task(flush())
        answers = await gather_results(*(live(i) for i in range(50)))
        flushing.cancel()

        assert [None] * 50 == answers
        assert 50 == len(world.router.messages)


# ------------------------------------------------------------------------------------ connections


async def test_with_two_connections_two_hundred_requests_are_answered(
    server: EmbeddedServer,
) -> None:
    """R85: some are served, some are told 503, all in time; no guess and no message for free."""
    async with (
        FaultyProxy(server) as proxy,
        ScriptClient(create_redis_client(url=proxy.url, timeout_ms=150, max_connections=2)) as link,
    ):
        with redis_servers.open_client(server) as client:
            client.flushall()
        world = Installation(link)
        issued = await world.issue()
        code, runs = world.router.extract_code(), world.hasher.hash_count
        proxy.delay = 0.01

        async with asyncio.timeout(BOUND):
            guesses = await gather_results(
                *(world.verify(issued, make_wrong_code(code, i + 1)) for i in range(100))
            )
            issues = await gather_results(*(world.issue(f"+4474001{i:05d}") for i in range(100)))
        proxy.delay = 0

        answers = guesses + issues
        assert all(isinstance(answer, ChallengeSnapshot | OtpError) for answer in answers)
        assert any(isinstance(answer, StoreUnavailable) for answer in answers)
        assert runs <= world.hasher.hash_count <= runs + 5 + 100
        assert 5 >= sum(isinstance(answer, IncorrectCode) for answer in guesses)
        sent = [message.to.e164 for message in world.router.messages]
        assert len(set(sent)) == len(sent)
        # Both connections are free again.
        await gather_results(
            *(world.store.fetch_challenge("shop", world.get_challenge_id(issued)) for _ in range(4))
        )
        await world.issue("+447400999999")


class Looker:
    """A caller whose reply from Redis is unique: a window that no other caller has."""

    def __init__(self, world: Installation, number: int) -> None:
        bucket = Bucket(Limit.SENDS_TENANT, "shop", str(number))
        self._store = world.store
        self._charge = Charge(bucket, (Window(1, 1000 + number),))
        self._number = number

    async def fill(self) -> None:
        """Spend all that there is."""
        await self._commit(f"fill-{self._number}", self._charge)

    async def look(self, operation: str) -> None:
        """See whose answer comes back."""
        outcome = await self._commit(operation, self._charge)
        assert isinstance(outcome, LimitRefusal)
        assert 1000 + self._number == outcome.window.period_seconds

    async def _commit(self, operation: str, charge: Charge) -> Any:
        partition = self._store.get_bucket_partition(charge.bucket)
        return await self._store.commit(
            Commit(partition=partition, operation_id=operation, charges=(charge,))
        )


async def cancel_some(calls: list[Awaitable[Any]], seed: int) -> list[Any]:
    """Start all, cancel most of them, each at some step of the loop, and return what became of them.

    Steps of the loop and not time, so that a fast machine is met at as many places as a slow one.
    """
    chance = random.Random(seed)  # noqa: S311  # the same storm tomorrow
    chance.shuffle(calls)
    tasks = [asyncio.ensure_future(call) for call in calls]
    while pending := [task for task in tasks if not task.done()]:
        if chance.random() < 0.3:
            chance.choice(pending).cancel()
        await asyncio.sleep(0)
    return await asyncio.gather(*tasks, return_exceptions=True)


async def storm(masters: list[EmbeddedServer], *, pool: int) -> Counter[type]:
    """Cancel 500 calls out of many, and return how all of them ended; then every one answers."""
    async with ScriptClient(
        create_redis_client(
            **redis_servers.build_connect_options(masters), timeout_ms=5000, max_connections=pool
        )
    ) as narrow:
        world = Installation(narrow)
        lookers = [Looker(world, number) for number in range(20)]
        await gather_results(*(looker.fill() for looker in lookers))
        issued = [await world.issue(f"+44740012345{i}") for i in range(5)]

        async def read(stored: ChallengeSnapshot) -> None:
            again = await world.store.fetch_challenge("shop", world.get_challenge_id(stored))
            assert again.challenge
            assert world.get_challenge_id(stored) == again.challenge.id

        ends: Counter[type] = Counter()
        while ends[asyncio.CancelledError] < 500:
            round_ = ends.total()
            calls: list[Awaitable[Any]] = [
                looker.look(f"{round_}-{n}") for n, looker in enumerate(lookers * 4)
            ]
            calls += [read(stored) for stored in issued * 4]
            ends.update(type(one) for one in await cancel_some(calls, round_))
        # No connection was lost either: all of them at once still answer.
        async with asyncio.timeout(BOUND):
            last = await gather_results(
                *(looker.look(f"last-{n}") for n, looker in enumerate(lookers))
            )
        ends.update(type(one) for one in last)
        return ends


@pytest.mark.parametrize("pool", [3, 50])
async def test_a_canceled_call_leaves_its_answer_to_nobody(
    masters: list[EmbeddedServer], pool: int
) -> None:
    """R84, CVE-2023-28858: after a thousand cancellations every caller reads its own reply."""
    ends = await storm(masters, pool=pool)

    assert {asyncio.CancelledError, type(None)} == ends.keys()
    assert ends[type(None)] > 50


async def test_the_storm_would_see_an_answer_go_astray(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above can fail: with connections that live on, as before redis-py 4.5.3."""

    disconnect = AbstractConnection.disconnect

    async def leave_open(connection: Any, nowait: bool = False) -> None:  # noqa: FBT001, FBT002
        if not nowait:
            await disconnect(connection)

    async def believe(_: Any) -> bool:
        return False

    monkeypatch.setattr(AbstractConnection, "disconnect", leave_open)
    monkeypatch.setattr(AbstractConnection, "can_read", believe)

    ends = await storm([server], pool=3)

    assert not {asyncio.CancelledError, type(None)} >= ends.keys()


async def test_who_goes_away_has_paid_for_what_was_compared(script_client: ScriptClient) -> None:
    """R84, R15: whenever a verify is canceled, nothing was compared that was not charged."""
    world = Installation(script_client)
    compared, seed = 0, 0
    while not compared and seed < 50:  # a fast machine may cancel a whole round before argon2
        seed += 1
        issued = [await world.issue(f"+4474001{seed:02d}45{i}") for i in range(8)]
        code, runs = world.router.extract_code(), world.hasher.hash_count

        calls = [
            world.verify(one, make_wrong_code(code, i + 1)) for i in range(6) for one in issued
        ]
        await cancel_some(list(calls), seed)
        await asyncio.sleep(0.1)  # what was on its way to Redis when its caller left

        charged = 0
        for one in issued:
            stored = await world.store.fetch_challenge("shop", world.get_challenge_id(one))
            assert stored.challenge
            charged += 5 - stored.challenge.attempts_left
        compared = world.hasher.hash_count - runs
        assert compared <= charged
    assert compared


# ------------------------------------------------------------------------------------ races


async def test_a_claim_taken_back_after_the_success_brings_no_secret_back(
    script_client: ScriptClient,
) -> None:
    """R14: another bucket refuses late, when the right code has already won."""
    world = Installation(script_client)
    rates = {**DEFAULT_LIMITS, Limit.FAILURES_ADDRESS: (Window(1, 3600),)}
    world.tenants["shop"] = msgspec.structs.replace(world.tenants["shop"], limits=rates)
    full = await world.issue("+447400123450")
    with pytest.raises(IncorrectCode):
        await world.verify(
            full, make_wrong_code(world.router.extract_code()), client_ip="203.0.113.9"
        )
    issued = await world.issue()
    code, commit = world.router.extract_code(), world.store.commit
    won: list[Commit] = []

    async def late(decision: Commit) -> Any:
        if decision.foldable_event and not won:
            won.append(decision)
            await world.verify(issued, code)
        return await commit(decision)

    world.store.commit = late  # type: ignore[method-assign,assignment]
    with pytest.raises(RateLimited):
        await world.verify(issued, code, client_ip="203.0.113.9")

    stored = await world.store.fetch_challenge("shop", world.get_challenge_id(issued))
    assert stored.challenge
    assert (ChallengeStatus.VERIFIED, None) == (
        stored.challenge.compute_status(stored.now),
        stored.secret,
    )


async def test_an_attempt_that_another_bucket_refused_lets_nobody_wait(
    script_client: ScriptClient,
) -> None:
    """R19, R52: the delay of a row counts from the last failure, not from a try that was none."""
    world = Installation(script_client)
    rates = {**DEFAULT_LIMITS, Limit.FAILURES_ADDRESS: (Window(1, 3600),)}
    rates[Limit.FAILURES_NUMBER] = (Window(1000, 3600),)
    world.tenants["shop"] = msgspec.structs.replace(world.tenants["shop"], limits=rates)
    full = await world.issue("+447400123450")
    with pytest.raises(IncorrectCode):
        await world.verify(
            full, make_wrong_code(world.router.extract_code()), client_ip="203.0.113.9"
        )
    for i in range(10):
        if i % 5 == 0:
            world.advance_clock(31 * SECOND_MS)
            issued = await world.issue()
        await gather_results(
            world.verify(issued, make_wrong_code(world.router.extract_code(), i + 1))
        )
    world.advance_clock(31 * SECOND_MS)
    issued = await world.issue()

    with pytest.raises(RateLimited) as refusal:
        await world.verify(issued, world.router.extract_code(), client_ip="203.0.113.9")

    assert "FailuresPerClientAddress" == refusal.value.limit
    await world.verify(issued, world.router.extract_code())
