"""Redis killed, full, read-only, busy or empty: nothing is compared or sent, only 503 (R77).
The service recovers by itself: no test here restarts it or creates another client.
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

from otp_service.core.challenge import ChallengeStatus
from otp_service.core.commit import ChallengeSnapshot, Commit
from otp_service.core.errors import (
    ChallengeNotFound,
    IncorrectCode,
    OtpError,
    RateLimited,
    StoreUnavailable,
)
from otp_service.core.limits import (
    DEFAULT_LIMITS,
    Algorithm,
    Bucket,
    Charge,
    Limit,
    LimitRefusal,
    Window,
)
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.embedded import EmbeddedServer
from otp_service.store.line import Line
from tests.installation import SECOND_MS, Installation, gather_results, make_wrong_code
from tests.store import redis_servers
from tests.store.faulty_proxy import FaultyProxy


UNLIMITED_TIMES = 10**9

RESPONSE_TIMEOUT_SECONDS = 30.0
"""Seconds within which every call returns, on a machine that is busy with other tests."""


class StoreFailureScenario:
    """A live challenge during a failure, and the charges before it."""

    def __init__(
        self, installation: Installation, issued: ChallengeSnapshot, before: dict[str, int]
    ) -> None:
        self.installation, self.issued, self._before = installation, issued, before
        self.code = installation.router.extract_code()
        self._runs, self._sent = installation.hasher.hash_count, len(installation.router.messages)

    @classmethod
    async def create(cls, installation: Installation) -> "StoreFailureScenario":
        """Issue a code and make one wrong attempt."""
        issued = await installation.issue(account="u-81", client_ip="203.0.113.9")
        with pytest.raises(IncorrectCode):
            await installation.verify(issued, make_wrong_code(installation.router.extract_code()))
        installation.advance_clock(30 * SECOND_MS)
        return cls(installation, issued, await read_counters(installation))

    async def assert_refused(self, *, tries: int = 100) -> None:
        """Assert that right and wrong codes, issues and resends get 503 in time, and do nothing."""
        installation, issued = self.installation, self.issued
        calls = [
            installation.verify(issued, make_wrong_code(self.code, i % 2 * (i + 1)))
            for i in range(tries)
        ]
        calls += [installation.issue(f"+4474001{i:05d}") for i in range(10)]
        calls += [installation.issue(key=f"k{i}") for i in range(3)]
        calls += [installation.resend(issued), installation.resend(issued, key="k")]
        async with asyncio.timeout(RESPONSE_TIMEOUT_SECONDS):
            answers = await gather_results(*calls)

        assert {StoreUnavailable} == {type(answer) for answer in answers}
        self.assert_nothing_done()

    def assert_nothing_done(self) -> None:
        """Assert that nothing was compared and nothing was sent."""
        assert self._runs == self.installation.hasher.hash_count
        assert self._sent == len(self.installation.router.messages)

    async def assert_recovered(self) -> None:
        """Assert that no counter was lost, the live code verifies, and new codes can be issued."""
        after = await read_counters(self.installation)
        assert all(after.get(name, 0) >= count for name, count in self._before.items())
        verified = await self.installation.verify(self.issued, self.code)
        assert verified.challenge
        assert ChallengeStatus.VERIFIED == verified.challenge.compute_status(verified.now)
        other = await self.installation.issue("+447400999999")
        await self.installation.verify(other, self.installation.router.extract_code())


async def read_counters(installation: Installation) -> dict[str, int]:
    """Return all counts: instants of windows, consecutive failures, and used attempts."""
    counts = {}
    for name in sorted(await redis_servers.list_keys(installation.script_client, "*:limit:*")):
        count, stored = await installation.script_client.run_pipeline(
            name, [("HGET", name, "count"), ("GET", name)]
        )
        if not isinstance(count, Exception):
            counts[name] = int(count or 0)
        elif Limit(name.split(":")[2]).algorithm is Algorithm.SLIDING_WINDOW:
            counts[name] = len(msgspec.msgpack.decode(stored)[::2])
    for name in await redis_servers.list_keys(installation.script_client, "*:challenge:*"):
        *_, id_ = name.split(":")
        stored = await installation.store.fetch_challenge("shop", id_)
        assert stored.challenge
        counts[name] = 5 - stored.challenge.attempts_left
    return counts


@contextlib.asynccontextmanager
async def connect_installation(
    server: EmbeddedServer, **options: Any
) -> AsyncIterator[Installation]:
    """Yield an installation on this server with a short timeout."""
    async with ScriptClient(
        create_redis_lines(url=server.url, **{"timeout_ms": 250} | options)
    ) as script_client:
        yield Installation(script_client)


@pytest.fixture
def server_with_port(tmp_path: Path) -> Iterator[EmbeddedServer]:
    """Return a server that tests may damage; its address stays the same after a restart."""
    with redis_servers.start_server(
        tmp_path / "data", port=redis_servers.find_free_port()
    ) as server:
        yield server


@pytest.fixture
def admin(server_with_port: EmbeddedServer) -> Iterator[redis.Redis]:
    """Return a client that damages the server."""
    with redis_servers.open_client(server_with_port) as client:
        yield client


# ------------------------------------------------------------------------------------------- killed


async def test_while_redis_is_killed_everything_is_refused_and_then_recovers(
    server_with_port: EmbeddedServer, admin: redis.Redis
) -> None:
    """R77, R78: killed, and started again with the same files; live challenges verify."""
    # With everysec, a busy disk may delay writes that were acknowledged within the last seconds.
    admin.config_set("appendfsync", "always")
    async with connect_installation(server_with_port) as installation:
        scenario = await StoreFailureScenario.create(installation)
        redis_servers.kill_server(server_with_port)

        await scenario.assert_refused()

        server_with_port.stop()
        server_with_port.start()
        await scenario.assert_recovered()


async def test_a_redis_that_lost_everything_verifies_nothing_old(
    server_with_port: EmbeddedServer,
) -> None:
    """R78, R79: a caller with an old code must start again."""
    async with connect_installation(server_with_port) as installation:
        scenario = await StoreFailureScenario.create(installation)
        redis_servers.kill_server(server_with_port)
        server_with_port.stop()
        shutil.rmtree(server_with_port.data)
        server_with_port.start()

        with pytest.raises(ChallengeNotFound):
            await installation.verify(scenario.issued, scenario.code)

        scenario.assert_nothing_done()
        again = await installation.issue()
        await installation.verify(again, installation.router.extract_code())
        assert "log.epoch" == (await installation.read_events())[0]["type"]


async def test_an_issue_that_is_lost_during_its_send_fails(
    server_with_port: EmbeddedServer,
) -> None:
    """R79: the message is sent, and its code has no challenge."""
    async with connect_installation(server_with_port) as installation:

        async def forget() -> None:
            redis_servers.flush_server(server_with_port)

        installation.router.on_send = forget
        with pytest.raises(StoreUnavailable):
            await installation.issue()


# --------------------------------------------------------------------- running, but unable to write


async def test_a_full_redis_refuses_everything(
    server_with_port: EmbeddedServer, admin: redis.Redis
) -> None:
    """R76, R77: reads still work when memory is full, so the claim is tested."""
    async with connect_installation(server_with_port) as installation:
        scenario = await StoreFailureScenario.create(installation)
        admin.config_set("maxmemory", 1)

        assert (
            await installation.store.fetch_challenge(
                "shop", installation.get_challenge_id(scenario.issued)
            )
        ).challenge
        await scenario.assert_refused()

        admin.config_set("maxmemory", 0)
        await scenario.assert_recovered()


async def test_a_redis_that_became_a_replica_refuses_everything(
    server_with_port: EmbeddedServer, admin: redis.Redis
) -> None:
    """R77: READONLY, as after a failover that the client has not noticed."""
    async with connect_installation(server_with_port) as installation:
        scenario = await StoreFailureScenario.create(installation)
        admin.replicaof("127.0.0.1", redis_servers.find_free_port())

        await scenario.assert_refused()

        admin.replicaof("NO", "ONE")
        await scenario.assert_recovered()


async def test_a_redis_without_its_replicas_refuses_everything(
    server_with_port: EmbeddedServer, admin: redis.Redis
) -> None:
    """R78: min-replicas-to-write."""
    async with connect_installation(server_with_port) as installation:
        scenario = await StoreFailureScenario.create(installation)
        admin.config_set("min-replicas-to-write", 1)

        await scenario.assert_refused()

        admin.config_set("min-replicas-to-write", 0)
        await scenario.assert_recovered()


async def test_a_claim_that_no_replica_has_is_not_compared(
    server_with_port: EmbeddedServer,
) -> None:
    """R79, design 8: WAIT follows claim, success and issue; the claim is refunded."""
    async with connect_installation(server_with_port) as installation:
        scenario = await StoreFailureScenario.create(installation)
        strict = ScriptClient(installation.script_client.lines, replicas=1, wait_ms=10)
        installation.store.client = strict

        with pytest.raises(StoreUnavailable):
            await installation.verify(scenario.issued, scenario.code)
        scenario.assert_nothing_done()
        with pytest.raises(StoreUnavailable):
            await installation.issue("+447400999998")

        assert 1 == len(installation.router.messages)
        installation.store.client = installation.script_client
        stored = await installation.store.fetch_challenge(
            "shop", installation.get_challenge_id(scenario.issued)
        )
        assert stored.challenge
        assert 4 == stored.challenge.attempts_left


@pytest.mark.parametrize("call", ["verify", "resend"])
async def test_a_change_that_no_replica_has_is_neither_confirmed_nor_sent(
    server_with_port: EmbeddedServer, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R79, design 8: the replica is lost during argon2."""
    async with connect_installation(server_with_port) as installation:
        scenario = await StoreFailureScenario.create(installation)
        arguments = (scenario.code,) if call == "verify" else ()
        compute_argon2id = installation.hasher.compute_argon2id

        async def lose_replica(code: str, salt: bytes, **more: Any) -> bytes:
            installation.store.client = ScriptClient(
                installation.script_client.lines, replicas=1, wait_ms=10
            )
            return await compute_argon2id(code, salt, **more)

        monkeypatch.setattr(installation.hasher, "compute_argon2id", lose_replica)
        with pytest.raises(StoreUnavailable):
            await getattr(installation, call)(scenario.issued, *arguments)

        assert 1 == len(installation.router.messages)


async def test_a_busy_redis_refuses_everything(
    server_with_port: EmbeddedServer, admin: redis.Redis
) -> None:
    """R77: another client's endless script: first no reply, then BUSY."""
    admin.config_set("busy-reply-threshold", 300)
    async with connect_installation(server_with_port, timeout_ms=100) as installation:
        scenario = await StoreFailureScenario.create(installation)
        with redis_servers.open_client(server_with_port) as client:
            endless = threading.Thread(
                target=run_script_to_the_end, args=(client, "while true do end")
            )
            endless.start()
            try:
                await asyncio.to_thread(wait_until_busy, server_with_port)
                await scenario.assert_refused(tries=50)  # no reply
                await scenario.assert_refused(tries=50)  # BUSY
            finally:
                admin.script_kill()
                endless.join()
        await scenario.assert_recovered()


def run_script_to_the_end(client: redis.Redis, script: str) -> None:
    with contextlib.suppress(redis.RedisError):
        client.eval(script, 0)


def wait_until_busy(server: EmbeddedServer) -> None:
    """Return once the script has started: until then, other commands are served."""
    with (
        redis.Redis.from_url(server.url, socket_timeout=0.1) as client,
        contextlib.suppress(redis.RedisError),
    ):
        while client.ping():
            pass


async def test_a_suspended_redis_delays_no_caller_beyond_the_timeout(
    server_with_port: EmbeddedServer, admin: redis.Redis
) -> None:
    """R77, R85: it hangs longer than any timeout; its later work charges nothing twice."""
    async with connect_installation(server_with_port, timeout_ms=100) as installation:
        scenario = await StoreFailureScenario.create(installation)
        with redis_servers.suspend_server(server_with_port):
            await scenario.assert_refused()

        admin.ping()  # until it has processed everything it received
        await scenario.assert_recovered()


ERROR_REPLIES = {
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


@pytest.mark.parametrize("error", ERROR_REPLIES)
@pytest.mark.parametrize(
    "command_prefix", [b"", b":operation:"], ids=["everything", "every change"]
)
async def test_every_error_of_redis_is_a_503(
    server: EmbeddedServer, error: str, command_prefix: bytes
) -> None:
    """R77: no error counts as success; for reads and changes, and for changes alone."""
    async with (
        FaultyProxy(server) as proxy,
        ScriptClient(create_redis_lines(url=proxy.url, timeout_ms=5000)) as script_client,
    ):
        redis_servers.flush_server(server)
        scenario = await StoreFailureScenario.create(Installation(script_client))
        proxy.fail_next(
            f"-{ERROR_REPLIES[error]}\r\n".encode(), command_prefix, times=UNLIMITED_TIMES
        )

        await scenario.assert_refused(tries=10)

        proxy.clear_failures()
        await scenario.assert_recovered()


async def test_a_malformed_reply_is_not_a_success(server: EmbeddedServer) -> None:
    """R77: no reply of another shape counts as success."""
    async with (
        FaultyProxy(server) as proxy,
        ScriptClient(create_redis_lines(url=proxy.url, timeout_ms=5000)) as script_client,
    ):
        redis_servers.flush_server(server)
        scenario = await StoreFailureScenario.create(Installation(script_client))
        for answer in (b"$-1\r\n", b"*0\r\n", b":1\r\n", b"+OK\r\n", b"*1\r\n$4\r\nDONE\r\n"):
            proxy.fail_next(answer, b":operation:", times=UNLIMITED_TIMES)
            answers = await gather_results(
                scenario.installation.verify(scenario.issued, scenario.code),
                scenario.installation.issue("+447400999998"),
            )
            assert all(isinstance(result, Exception) for result in answers)
            proxy.clear_failures()

        scenario.assert_nothing_done()


async def test_flushed_scripts_are_loaded_again_without_an_error(
    server_with_port: EmbeddedServer,
) -> None:
    """R82: SCRIPT FLUSH under load; no error surfaces, and everything is done once."""
    async with connect_installation(server_with_port, timeout_ms=5000) as installation:

        async def flush() -> None:
            while True:
                await installation.script_client.run_pipeline("", [("SCRIPT", "FLUSH", "SYNC")])
                await asyncio.sleep(0.001)  # other calls run between two flushes

        async def issue_and_verify(i: int) -> None:
            issued = await installation.issue(f"+4474001{i:05d}", client_ip=f"203.0.113.{i}")
            numbers = [message.to.e164[-5:] for message in installation.router.messages]
            await installation.verify(
                issued, installation.router.extract_code(numbers.index(f"{i:05d}"))
            )

        flushing = asyncio.create_task(flush())
        answers = await gather_results(*(issue_and_verify(i) for i in range(50)))
        flushing.cancel()

        assert [None] * 50 == answers
        assert 50 == len(installation.router.messages)


# ------------------------------------------------------------------------------------ connections


async def test_of_two_hundred_requests_on_a_slow_network_each_is_answered(
    server: EmbeddedServer,
) -> None:
    """R85: some are served, some get 503, all in time; every guess and message is charged."""
    async with (
        FaultyProxy(server) as proxy,
        ScriptClient(
            create_redis_lines(url=proxy.url, timeout_ms=500, max_calls=20)
        ) as script_client,
    ):
        redis_servers.flush_server(server)
        installation = Installation(script_client)
        issued = await installation.issue()
        code, runs = installation.router.extract_code(), installation.hasher.hash_count
        proxy.delay = 0.01

        async with asyncio.timeout(RESPONSE_TIMEOUT_SECONDS):
            guesses = await gather_results(
                *(installation.verify(issued, make_wrong_code(code, i + 1)) for i in range(100))
            )
            issues = await gather_results(
                *(installation.issue(f"+4474001{i:05d}") for i in range(100))
            )
        proxy.delay = 0

        answers = guesses + issues
        assert all(isinstance(answer, ChallengeSnapshot | OtpError) for answer in answers)
        assert any(isinstance(answer, StoreUnavailable) for answer in answers)
        assert runs <= installation.hasher.hash_count <= runs + 5 + 100
        assert 5 >= sum(isinstance(answer, IncorrectCode) for answer in guesses)
        sent = [message.to.e164 for message in installation.router.messages]
        assert len(set(sent)) == len(sent)
        await issue_when_available(installation, "+447400999999")


async def issue_when_available(installation: Installation, number: str) -> None:
    """Issue a code once the calls that were given up no longer wait on the connection."""
    async with asyncio.timeout(RESPONSE_TIMEOUT_SECONDS):
        while True:
            with contextlib.suppress(StoreUnavailable):
                await installation.issue(number)
                return
            await asyncio.sleep(0.05)  # the store does not report that it has room


class ChargingCaller:
    """A caller whose reply from Redis is unique: no other caller has its window."""

    def __init__(self, installation: Installation, number: int) -> None:
        bucket = Bucket(Limit.SENDS_TENANT, "shop", str(number))
        self._store = installation.store
        self._charge = Charge(bucket, (Window(1, 1000 + number),))
        self._number = number

    async def fill(self) -> None:
        """Use up the limit."""
        await self._commit(f"fill-{self._number}", self._charge)

    async def assert_own_reply(self, operation: str) -> None:
        """Assert that the reply is the caller's own."""
        outcome = await self._commit(operation, self._charge)
        assert isinstance(outcome, LimitRefusal)
        assert 1000 + self._number == outcome.window.period_seconds

    async def _commit(self, operation: str, charge: Charge) -> Any:
        partition = self._store.get_bucket_partition(charge.bucket)
        return await self._store.commit(
            Commit(partition=partition, operation_id=operation, charges=(charge,))
        )


async def cancel_some(
    calls: list[Awaitable[Any]], seed: int, *, probability: float = 0.3
) -> list[Any]:
    """Start all calls, cancel most at random steps of the event loop, and return their results.

    Steps of the loop are used and not time, so that fast and slow machines cancel at as many
    points.
    """
    generator = random.Random(seed)  # noqa: S311  # the same sequence in every run
    generator.shuffle(calls)
    tasks = [asyncio.ensure_future(call) for call in calls]
    while pending := [task for task in tasks if not task.done()]:
        if generator.random() < probability:
            generator.choice(pending).cancel()
        await asyncio.sleep(0)
    return await asyncio.gather(*tasks, return_exceptions=True)


async def cancel_repeatedly(masters: list[EmbeddedServer]) -> Counter[type]:
    """Cancel 500 of many calls and count all outcomes; afterwards every caller gets a reply."""
    async with ScriptClient(
        create_redis_lines(**redis_servers.build_connect_options(masters), timeout_ms=5000)
    ) as shared_client:
        installation = Installation(shared_client)
        callers = [ChargingCaller(installation, number) for number in range(20)]
        await gather_results(*(caller.fill() for caller in callers))
        issued = [await installation.issue(f"+44740012345{i}") for i in range(5)]

        async def read(stored: ChallengeSnapshot) -> None:
            fetched = await installation.store.fetch_challenge(
                "shop", installation.get_challenge_id(stored)
            )
            assert fetched.challenge
            assert installation.get_challenge_id(stored) == fetched.challenge.id

        outcomes: Counter[type] = Counter()
        while outcomes[asyncio.CancelledError] < 500:
            round_ = outcomes.total()
            calls: list[Awaitable[Any]] = [
                caller.assert_own_reply(f"{round_}-{n}") for n, caller in enumerate(callers * 4)
            ]
            calls += [read(stored) for stored in issued * 4]
            outcomes.update(
                type(outcome) for outcome in await cancel_some(calls, round_, probability=0.05)
            )
        # No connection was lost: all callers get a reply at once.
        async with asyncio.timeout(RESPONSE_TIMEOUT_SECONDS):
            last = await gather_results(
                *(caller.assert_own_reply(f"last-{n}") for n, caller in enumerate(callers))
            )
        outcomes.update(type(outcome) for outcome in last)
        return outcomes


async def test_no_caller_reads_the_reply_of_a_canceled_call(
    masters: list[EmbeddedServer],
) -> None:
    """R84, CVE-2023-28858: after a thousand cancellations every caller reads its own reply."""
    outcomes = await cancel_repeatedly(masters)

    assert {asyncio.CancelledError, type(None)} == outcomes.keys()


async def test_a_reply_for_another_caller_would_be_detected(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test above is sensitive: with a line that forgets canceled calls and checks no token."""
    accept_reply = Line._accept_reply

    def forget_canceled_calls(line: Any, reply: Any) -> None:
        while line._calls[0].future.cancelled() and len(line._calls) > 1:
            line._calls.popleft()
        accept_reply(line, reply)

    def remove_any_echo(reply: Any, _: bytes) -> Any:
        return reply[1] if isinstance(reply, list) else None

    monkeypatch.setattr(Line, "_accept_reply", forget_canceled_calls)
    monkeypatch.setattr("otp_service.store.line._remove_echo", remove_any_echo)

    outcomes = await cancel_repeatedly([server])

    assert not {asyncio.CancelledError, type(None)} >= outcomes.keys()


async def test_a_canceled_verify_is_charged_if_it_was_compared(script_client: ScriptClient) -> None:
    """R84, R15: whenever a verify is canceled, every comparison was charged before."""
    installation = Installation(script_client)
    compared, seed = 0, 0
    while not compared and seed < 50:
        seed += 1
        installation.advance_clock(600_000)  # the limit of their prefix
        issued = [await installation.issue(f"+4474001{seed:02d}45{i}") for i in range(8)]
        code, runs = installation.router.extract_code(), installation.hasher.hash_count

        calls = [
            installation.verify(challenge, make_wrong_code(code, i + 1))
            for i in range(6)
            for challenge in issued
        ]
        # Ever less often: a busy server replies after all of the first round are canceled.
        await cancel_some(list(calls), seed, probability=0.3 / seed)
        await asyncio.sleep(0.1)  # commands in flight when their caller was canceled

        charged = 0
        for challenge in issued:
            stored = await installation.store.fetch_challenge(
                "shop", installation.get_challenge_id(challenge)
            )
            assert stored.challenge
            charged += 5 - stored.challenge.attempts_left
        compared = installation.hasher.hash_count - runs
        assert compared <= charged
    assert compared


# ------------------------------------------------------------------------------------ races


async def test_a_claim_refunded_after_the_success_restores_no_secret(
    script_client: ScriptClient,
) -> None:
    """R14: another bucket refuses late, when the right code has already won."""
    installation = Installation(script_client)
    rates = {**DEFAULT_LIMITS, Limit.FAILURES_ADDRESS: (Window(1, 3600),)}
    installation.tenants["shop"] = msgspec.structs.replace(
        installation.tenants["shop"], limits=rates
    )
    full = await installation.issue("+447400123450")
    with pytest.raises(IncorrectCode):
        await installation.verify(
            full, make_wrong_code(installation.router.extract_code()), client_ip="203.0.113.9"
        )
    issued = await installation.issue()
    code, commit = installation.router.extract_code(), installation.store.commit
    claims: list[Commit] = []

    async def verify_before_commit(decision: Commit) -> Any:
        if decision.foldable_event and not claims:
            claims.append(decision)
            await installation.verify(issued, code)
        return await commit(decision)

    installation.store.commit = verify_before_commit  # type: ignore[method-assign,assignment]
    with pytest.raises(RateLimited):
        await installation.verify(issued, code, client_ip="203.0.113.9")

    stored = await installation.store.fetch_challenge("shop", installation.get_challenge_id(issued))
    assert stored.challenge
    assert (ChallengeStatus.VERIFIED, None) == (
        stored.challenge.compute_status(stored.now),
        stored.secret,
    )


async def test_an_attempt_that_another_bucket_refused_causes_no_delay(
    script_client: ScriptClient,
) -> None:
    """R19, R52: the delay counts from the last failure, not from a refused attempt."""
    installation = Installation(script_client)
    rates = {**DEFAULT_LIMITS, Limit.FAILURES_ADDRESS: (Window(1, 3600),)}
    rates[Limit.FAILURES_NUMBER] = (Window(1000, 3600),)
    installation.tenants["shop"] = msgspec.structs.replace(
        installation.tenants["shop"], limits=rates
    )
    full = await installation.issue("+447400123450")
    with pytest.raises(IncorrectCode):
        await installation.verify(
            full, make_wrong_code(installation.router.extract_code()), client_ip="203.0.113.9"
        )
    for i in range(10):
        if i % 5 == 0:
            installation.advance_clock(31 * SECOND_MS)
            issued = await installation.issue()
        await gather_results(
            installation.verify(issued, make_wrong_code(installation.router.extract_code(), i + 1))
        )
    installation.advance_clock(31 * SECOND_MS)
    issued = await installation.issue()

    with pytest.raises(RateLimited) as refusal:
        await installation.verify(
            issued, installation.router.extract_code(), client_ip="203.0.113.9"
        )

    assert "FailuresPerClientAddress" == refusal.value.limit
    await installation.verify(issued, installation.router.extract_code())
