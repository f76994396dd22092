"""The store's client on a simulated Redis: its replicas, its failures, and what is lost."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from redis.exceptions import NoScriptError, ReadOnlyError, RedisError, ResponseError

from otp_service.core.errors import NotReplicated, StoreUnavailable
from otp_service.store.archive_source import RedisArchiveSource
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.health import READY_SCRIPT, find_issues, is_ready
from otp_service.store.key_names import KeyNames
from otp_service.store.server_checks import list_online_replicas
from tests.installation import generate_keys
from tests.simulation.kernel.chance import Chance
from tests.simulation.kernel.network import SimulatedNetwork
from tests.simulation.kernel.runner import run_simulated
from tests.simulation.redis_model.redis_site import FormerMaster, RedisSite
from tests.simulation.redis_model.server_state import TOO_FEW_REPLICAS
from tests.simulation.twin_ends import ModelEnd


START_MS = 1_763_814_000_000
URL = "redis://redis:6379"
KEY = "{07}:something"


class Setting:
    """A site and clients of it."""

    def __init__(self, network: SimulatedNetwork, **options: Any) -> None:
        loop = asyncio.get_running_loop()
        chance = Chance(options.pop("seed", 0))
        self.site = RedisSite(loop, network, chance, start_ms=START_MS, **options)
        self.network = network

    def create_client(
        self, *, replicas: int = 0, wait_ms: int = 100, **options: Any
    ) -> ScriptClient:
        lines = create_redis_lines(url=URL, **options)
        return ScriptClient(lines, replicas=replicas, wait_ms=wait_ms)


def run_in_setting(test: Callable[[Setting], Coroutine[Any, Any, Any]], **options: Any) -> None:
    """Run a coroutine on a simulated loop, and end its site without an unknown command."""
    settings = []

    async def main(network: SimulatedNetwork) -> None:
        setting = Setting(network, **options)
        settings.append(setting)
        await test(setting)

    run_simulated(main)
    assert [] == settings[0].site.findings


async def write(client: ScriptClient, value: str = "1") -> Any:
    """Write a value, which no script of the service does so simply."""
    (reply,) = await client.run_pipeline(KEY, [("SET", KEY, value)])
    if isinstance(reply, Exception):
        raise reply
    return reply


async def read(client: ScriptClient) -> Any:
    (value,) = await client.read_each([KEY], "GET")
    return value


async def has_scripts(client: ScriptClient) -> bool:
    """Return whether the server knows a script that was run before by its digest."""
    command = ("EVALSHA", READY_SCRIPT.sha, 1, KEY, "token")
    (reply,) = await client.run_pipeline(KEY, [command])
    return not isinstance(reply, NoScriptError)


async def acquire_lease(client: ScriptClient, *, durable: bool = False) -> Any:
    """Run a script that writes."""
    source = RedisArchiveSource(
        client, KeyNames(generate_keys().limit.current), max_stream_entries=9
    )
    keys, arguments = [source._key_names.sealer_key()], [b"me", b"1000", b"0", b"{}"]
    return await client.run_script(source._lease_script, keys, arguments, durable=durable)


def test_a_client_writes_and_reads():
    """Through the introduction, a script that is loaded at its first use, and the echoes of tokens."""

    async def test(setting: Setting) -> None:
        async with setting.create_client() as client:
            await write(client)
            assert b"1" == await read(client)
            assert 1 == await acquire_lease(client)
            assert 1 == await acquire_lease(client)
            assert await is_ready(client)
            assert [] == await find_issues(client)

    run_in_setting(test)


def test_wait_counts_the_replicas_that_have_the_change():
    """At the latest lag of two of three replicas."""

    async def test(setting: Setting) -> None:
        async with setting.create_client(replicas=2) as client:
            assert 1 == await acquire_lease(client, durable=True)
            now = asyncio.get_running_loop().time()
            offsets = sorted(r.find_offset(now) for r in setting.site.server.replication.replicas)
            assert offsets[1:] == [setting.site.server.keyspace.offset] * 2
            (info,) = await client.run_pipeline("", [("INFO", "replication")])
            names = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
            assert 3 == len(list_online_replicas(names))

    run_in_setting(test, replicas=3, longest_lag_seconds=0.05)


@pytest.mark.parametrize("stalled", [2, 3])
def test_wait_ends_at_its_timeout_without_enough_replicas(stalled: int):
    """The change is there, and its client knows that it may be lost."""

    async def test(setting: Setting) -> None:
        setting.site.stall_replicas(stalled)
        loop = asyncio.get_running_loop()
        async with setting.create_client(replicas=2) as client:
            began_at = loop.time()
            with pytest.raises(NotReplicated) as caught:
                await acquire_lease(client, durable=True)
            assert caught.value.cause.startswith(f"{3 - stalled} of 2 replicas")
            assert 0.1 <= loop.time() - began_at <= 0.12

    run_in_setting(test, replicas=3, longest_lag_seconds=0.001)


def test_a_replica_that_is_stalled_has_nothing_of_what_comes_later():
    """A failover to it loses that, and what was still on its way."""

    async def test(setting: Setting) -> None:
        async with setting.create_client() as client:
            await write_one_by_one(client, 20)
            now = asyncio.get_running_loop().time()
            (replica,) = setting.site.server.replication.replicas
            offset = replica.find_offset(now)
            setting.site.stall_replicas(1)
            await write_one_by_one(client, 5)
            await asyncio.sleep(1)
            assert offset < 20
            assert 25 - offset == setting.site.fail_over(FormerMaster.GONE)

    run_in_setting(test, replicas=1, longest_lag_seconds=0.02)


def test_a_wait_holds_back_what_follows_on_its_connection():
    """Its reply comes first."""

    async def test(setting: Setting) -> None:
        end = ModelEnd(setting.site.server)
        assert end.run(("WAIT", 1, 100)) is False
        assert end.run(("ECHO", "one")) is False
        assert end.run(("ECHO", "two")) is False
        await asyncio.sleep(0.2)
        assert [0, b"one", b"two", False] == [end.read() for _ in range(4)]

    run_in_setting(test)


def test_a_replica_that_comes_back_ends_the_wait():
    """With what it lacked."""

    async def test(setting: Setting) -> None:
        setting.site.stall_replicas(1)
        loop = asyncio.get_running_loop()
        async with setting.create_client(replicas=1, wait_ms=400) as client:
            loop.call_later(0.2, setting.site.resume_replicas)
            began_at = loop.time()
            assert 1 == await acquire_lease(client, durable=True)
            assert 0.2 <= loop.time() - began_at <= 0.22

    run_in_setting(test, replicas=1, longest_lag_seconds=0.001)


async def write_one_by_one(client: ScriptClient, count: int) -> None:
    """Write the numbers from 1 to `count` a millisecond apart."""
    for number in range(1, count + 1):
        await write(client, str(number))
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("former", FormerMaster)
@pytest.mark.parametrize("seed", range(3))
def test_a_failover_loses_exactly_the_tail(former: FormerMaster, seed: int):
    """The writes that the best replica had not yet received, and no other."""

    async def test(setting: Setting) -> None:
        async with setting.create_client(timeout_ms=2000) as client:
            await write_one_by_one(client, 30)
            replicas = setting.site.server.replication.replicas
            now = asyncio.get_running_loop().time()
            last = max(replica.find_offset(now) for replica in replicas)
            lost = setting.site.fail_over(former)
            assert 0 < lost < 30
            assert last == 30 - lost == setting.site.server.keyspace.offset
            assert b"%d" % (30 - lost) == setting.site.server.keyspace.get(KEY.encode())
            assert 2 == 1 + len(setting.site.server.replication.replicas)

    run_in_setting(test, replicas=2, longest_lag_seconds=0.06, seed=seed)


@pytest.mark.parametrize("choice", range(3))
@pytest.mark.parametrize("replicas", [1, 3])
def test_what_all_replicas_have_survives_any_failover(choice: int, replicas: int):
    """A WAIT for all of them, and not for one."""

    async def test(setting: Setting) -> None:
        async with setting.create_client(replicas=replicas, wait_ms=400) as client:
            await acquire_lease(client, durable=True)
            offset = setting.site.server.keyspace.offset
            lost.append(setting.site.fail_over(FormerMaster.GONE, choice=choice))
            assert (setting.site.server.keyspace.offset == offset) == (lost[-1] == 0)

    lost: list[int] = []
    for seed in range(5):
        run_in_setting(test, replicas=3, longest_lag_seconds=0.06, seed=seed)

    assert (replicas == 3) == (sum(lost) == 0)


def test_a_new_master_has_another_identity_and_no_scripts():
    """So a new epoch begins, and the client sends the source again."""

    async def test(setting: Setting) -> None:
        async with setting.create_client() as client:
            assert await is_ready(client)
            assert await has_scripts(client)
            old = setting.site.server
            await asyncio.sleep(1)
            setting.site.fail_over(FormerMaster.GONE)
            await asyncio.sleep(0.1)
            assert not await has_scripts(client)
            assert await is_ready(client)
            new = setting.site.server
            assert old.run_id != new.run_id
            assert old.replication_id != new.replication_id

    run_in_setting(test, replicas=1)


def test_a_demoted_master_refuses_writes_until_the_client_leaves_it():
    """Its connections stay open. The next line leads to the new master."""

    async def test(setting: Setting) -> None:
        async with setting.create_client() as client:
            await write(client)
            await asyncio.sleep(1)
            setting.site.fail_over(FormerMaster.DEMOTED)
            with pytest.raises(ReadOnlyError):
                await write(client, "2")
            assert b"1" == await read(client)
            await write(client, "3")
            assert b"3" == setting.site.server.keyspace.get(KEY.encode())

    run_in_setting(test, replicas=1)


def test_a_demotion_ends_a_wait():
    """With the code UNBLOCKED: whether the change survives is unknown."""

    async def test(setting: Setting) -> None:
        setting.site.stall_replicas(1)
        async with setting.create_client(replicas=1, wait_ms=400) as client:
            waiting = asyncio.ensure_future(acquire_lease(client, durable=True))
            await asyncio.sleep(0.1)
            setting.site.fail_over(FormerMaster.DEMOTED)
            with pytest.raises(ResponseError, match="UNBLOCKED"):
                await waiting

    run_in_setting(test, replicas=1)


def test_writes_to_a_master_that_knows_of_no_other_are_lost():
    """WAIT finds no replica there. Once it is demoted, the client reads what the new master has."""

    async def test(setting: Setting) -> None:
        async with setting.create_client(replicas=1) as client:
            await write(client, "1")
            await asyncio.sleep(1)
            assert 0 == setting.site.fail_over(FormerMaster.UNAWARE)
            await write(client, "2")
            assert b"2" == await read(client)
            (info,) = await client.run_pipeline("", [("INFO", "replication")])
            assert b"connected_slaves:0" in info
            with pytest.raises(NotReplicated):
                await acquire_lease(client, durable=True)
            setting.site.demote_former()
            assert b"1" == await read(client)

    run_in_setting(test, replicas=1)


def test_an_earlier_master_may_come_back_stale():
    """As the server that the address means, with what it had, and without what came after."""

    async def test(setting: Setting) -> None:
        async with setting.create_client() as client:
            await write(client, "1")
            await asyncio.sleep(1)
            setting.site.fail_over(FormerMaster.GONE)
            await asyncio.sleep(1)
            await write(client, "2")
            setting.site.bring_back(setting.site.servers[0])
            await asyncio.sleep(1)
            assert b"1" == await read(client)

    run_in_setting(test, replicas=1)


def test_a_failover_needs_a_replica():
    """There is nothing to promote."""

    async def test(setting: Setting) -> None:
        with pytest.raises(ValueError, match="no replica"):
            setting.site.fail_over(FormerMaster.GONE)

    run_in_setting(test)


def test_a_restart_loses_its_last_writes_and_all_scripts():
    """As with appendfsync everysec."""

    async def test(setting: Setting) -> None:
        async with setting.create_client() as client:
            assert await is_ready(client)
            await write_one_by_one(client, 5)
            run_id = setting.site.server.run_id
            setting.site.restart(lost_writes=2)
            await asyncio.sleep(0.1)
            assert b"3" == await read(client)
            assert not await has_scripts(client)
            assert run_id != setting.site.server.run_id

    run_in_setting(test)


def test_an_empty_server_may_take_the_address():
    """Nothing is left, and its identity is another one."""

    async def test(setting: Setting) -> None:
        async with setting.create_client() as client:
            await write(client)
            setting.site.replace_by_empty()
            await asyncio.sleep(0.1)
            assert await read(client) is None
            assert setting.site.servers[0].run_id != setting.site.server.run_id

    run_in_setting(test)


def test_a_crashed_server_refuses_connections_until_it_starts():
    """With its data."""

    async def test(setting: Setting) -> None:
        async with setting.create_client() as client:
            await write(client)
            setting.site.crash()
            with pytest.raises(StoreUnavailable):
                await read(client)
            setting.site.start()
            await asyncio.sleep(0.1)
            assert b"1" == await read(client)

    run_in_setting(test)


def test_a_frozen_server_runs_later_what_has_arrived():
    """Also what its client has given up."""

    async def test(setting: Setting) -> None:
        async with setting.create_client(timeout_ms=100) as client:
            await write(client)
            setting.site.server.freeze()
            with pytest.raises(RedisError):
                await write(client, "2")
            await asyncio.sleep(1)
            assert b"1" == setting.site.server.keyspace.get(KEY.encode())
            setting.site.server.thaw()
            assert b"2" == setting.site.server.keyspace.get(KEY.encode())
            await asyncio.sleep(1)
            assert b"2" == await read(client)
            assert 1 == len(setting.site.server.sessions)

    run_in_setting(test)


def test_a_frozen_server_answers_a_wait_when_it_goes_on():
    """Its timer is due meanwhile."""

    async def test(setting: Setting) -> None:
        async with setting.create_client(replicas=1, wait_ms=100, timeout_ms=2000) as client:
            setting.site.stall_replicas(1)
            waiting = asyncio.ensure_future(acquire_lease(client, durable=True))
            await asyncio.sleep(0.05)
            setting.site.server.freeze()
            await asyncio.sleep(0.5)
            assert not waiting.done()
            setting.site.server.thaw()
            with pytest.raises(NotReplicated):
                await waiting

    run_in_setting(test, replicas=1)


@pytest.mark.parametrize(
    ("state", "code"),
    [
        ("is_full", "OOM"),
        ("is_disk_full", "MISCONF"),
        ("is_replica", "READONLY"),
        ("is_loading", "LOADING"),
    ],
)
def test_a_server_that_takes_no_writes_says_why(state: str, code: str):
    """It refuses each script that may write as a whole, and reads work but while it loads."""

    async def test(setting: Setting) -> None:
        async with setting.create_client() as client:
            await write(client)
            await acquire_lease(client)
            setattr(setting.site.server, state, True)
            for call in (write, acquire_lease):
                with pytest.raises(RedisError) as caught:
                    await call(client)
                assert code in (str(caught.value), getattr(caught.value, "status_code", None)) or (
                    str(caught.value).startswith(code)
                )
            assert not await is_ready(client)
            if state != "is_loading":
                assert b"1" == await read(client)

    run_in_setting(test)


def test_a_server_with_too_few_replicas_may_refuse_writes():
    """min-replicas-to-write."""

    async def test(setting: Setting) -> None:
        setting.site.server.write_refusal = TOO_FEW_REPLICAS
        async with setting.create_client() as client:
            with pytest.raises(ResponseError, match="NOREPLICAS"):
                await acquire_lease(client)

    run_in_setting(test)


def test_a_clock_that_jumps_is_that_of_the_data():
    """A key that expired while the clock was ahead is gone, unless nothing had deleted it."""

    async def test(setting: Setting) -> None:
        keyspace = setting.site.server.keyspace
        for has_swept, expected in ((True, None), (False, b"1")):
            keyspace.put(b"a", b"1", START_MS + 60_000)
            setting.site.jump_clock(600_000)
            assert keyspace.clock() >= START_MS + 600_000
            setting.site.jump_clock(-600_000, has_swept=has_swept)
            assert expected == keyspace.get(b"a")

    run_in_setting(test)


@pytest.mark.parametrize(
    "command", [("FLUSHALL",), ("SET", "a", "1", "EX", "5"), ("EVAL", "return 1", "0")]
)
def test_what_the_model_does_not_have_is_an_error_and_a_finding(command: tuple[str, ...]):
    """The run that sent it fails."""

    async def test(setting: Setting) -> None:
        async with setting.create_client() as client:
            (reply,) = await client.run_pipeline("", [command])
            assert isinstance(reply, ResponseError)
            assert 1 == len(setting.site.findings)
            assert command[0] in setting.site.findings[0]
            setting.site.server.findings.clear()

    run_in_setting(test)


def test_a_password_is_required():
    """Nothing runs before it."""

    async def test(setting: Setting) -> None:
        setting.site.server.password = b"secret"
        async with setting.create_client() as client:
            with pytest.raises(StoreUnavailable) as caught:
                await read(client)
            assert "NOAUTH" in caught.value.cause
        async with setting.create_client(password="secret") as client:
            assert await read(client) is None

    run_in_setting(test)


def test_a_site_is_the_same_for_the_same_seed():
    """Identities and lags are drawn from it alone."""

    def run(seed: int) -> tuple[Any, ...]:
        found: list[Any] = []

        async def test(setting: Setting) -> None:
            async with setting.create_client() as client:
                await write_one_by_one(client, 20)
                lost = setting.site.fail_over(FormerMaster.GONE)
                found.extend([lost, setting.site.server.run_id])

        run_in_setting(test, replicas=2, longest_lag_seconds=0.05, seed=seed)
        return tuple(found)

    assert run(1) == run(1)
    assert run(1) != run(2)
