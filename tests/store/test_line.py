"""The line: replies in order, nothing for the wrong caller, and a closed connection on any doubt."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any
from unittest.mock import Mock

import pytest
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import TimeoutError as TimedOut

from otp_service.core.errors import StoreUnavailable
from otp_service.store.client import MAX_LOST_REPLIES, ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.line import MAX_CALLS_IN_FLIGHT, MAX_REPLY_TIMEOUTS, Line
from otp_service.store.lua_script import LuaScript
from otp_service.store.reply_errors import CallInterrupted, UnexpectedReply
from otp_service.store.server_lines import ServerLines
from tests.store import redis_servers
from tests.store.scripted_server import ScriptedServer, answer, encode


KEY = "{07}:x"
ECHO = LuaScript("#!lua\nreturn ARGV[1]")
COUNT = LuaScript("#!lua\nreturn redis.call('INCR', KEYS[1])")


@pytest.fixture
async def scripted() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


@contextlib.asynccontextmanager
async def connect(server: ScriptedServer, **options: Any) -> AsyncIterator[ScriptClient]:
    replicas = options.pop("replicas", 0)
    lines = create_redis_lines(url=server.url, **{"timeout_ms": 5000} | options)
    async with ScriptClient(lines, replicas=replicas) as link:
        yield link


def get_plain_line(link: ScriptClient) -> Line:
    """Return the line of calls that need not be durable."""
    assert isinstance(link.lines, ServerLines)
    return link.lines._lines["plain"]


class HeldReplies:
    """Keeps what a server would answer, to be sent by the test."""

    def __init__(self) -> None:
        self.data = bytearray()

    def hold(self, command: list[bytes]) -> bytes:
        self.data += answer(command)
        return b""


async def call(link: ScriptClient, value: int | str = 0, **options: Any) -> bytes:
    """Return what the server returns, which must be the value."""
    return await link.run_script(ECHO, (KEY,), (str(value).encode(),), **options)


async def call_many(link: ScriptClient, count: int, **options: Any) -> list[Any]:
    calls = (call(link, n, **options) for n in range(count))
    return await asyncio.gather(*calls, return_exceptions=True)


def numbers(count: int) -> list[bytes]:
    return [str(n).encode() for n in range(count)]


# ------------------------------------------------------------------------------- batches and order


async def test_the_calls_of_one_turn_leave_in_one_write(
    scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each write wakes Redis, and costs more than the command."""
    async with connect(scripted) as link:
        await call(link)
        transport = get_plain_line(link)._transport
        assert transport
        write = Mock(wraps=transport.write)
        monkeypatch.setattr(transport, "write", write)

        assert numbers(50) == await call_many(link, 50)

    assert 1 == write.call_count
    assert 1 == len(scripted.connections)


async def test_halves_of_replies_are_put_together(scripted: ScriptedServer) -> None:
    """A reply may end anywhere in a packet."""
    random_source = random.Random(11)  # noqa: S311  # the same cuts in every run
    async with connect(scripted) as link:
        await call(link)
        held = HeldReplies()
        scripted.respond, replies = held.hold, held.data
        calls = asyncio.create_task(call_many(link, 40))
        await scripted.wait_until(lambda: len(scripted.commands) >= 41)
        while replies:
            cut = random_source.randrange(1, 8)
            scripted.connections[0].write(bytes(replies[:cut]))
            del replies[:cut]
            await asyncio.sleep(0)

        assert numbers(40) == await calls


async def test_canceled_callers_leave_every_other_reply_where_it_belongs(
    scripted: ScriptedServer,
) -> None:
    """CVE-2023-28858 (R84): 2,000 calls, of which a half is canceled at random moments."""
    random_source = random.Random(11)  # noqa: S311
    async with connect(scripted) as link:
        await call(link)
        for _ in range(10):
            tasks = [asyncio.create_task(call(link, n)) for n in range(200)]
            for task in random_source.sample(tasks, 100):
                if random_source.random() < 0.1:
                    await asyncio.sleep(0)
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            for n, result in enumerate(results):
                assert isinstance(result, asyncio.CancelledError) or result == str(n).encode()

    assert 1 == len(scripted.connections), "nothing was in doubt"


async def test_a_write_waits_while_the_server_does_not_read(scripted: ScriptedServer) -> None:
    """Backpressure: the buffer of the socket is bounded, and everything arrives in the end."""
    async with connect(scripted) as link:
        await call(link)
        line = get_plain_line(link)
        line.pause_writing()
        calls = asyncio.create_task(call_many(link, 20))
        await asyncio.sleep(0.01)
        assert 1 == len(scripted.commands)

        line.resume_writing()

        assert numbers(20) == await calls


# --------------------------------------------------------------------------------------- any doubt


async def test_a_foreign_token_closes_the_connection(scripted: ScriptedServer) -> None:
    """Two replies that change places: neither caller gets one, and both repeat their calls."""
    held: list[bytes] = []

    def swap(command: list[bytes]) -> bytes:
        held.append(answer(command))
        return held.pop() + held.pop() if len(held) == 2 else b""

    async with connect(scripted) as link:
        await call(link)
        scripted.respond = swap
        results = await call_many(link, 2)
        scripted.respond = answer

        assert [CallInterrupted] * 2 == [type(result) for result in results]
        assert isinstance(results[0].__cause__, UnexpectedReply)
        assert b"7" == await call(link, 7)

    assert 2 == len(scripted.connections)


@pytest.mark.parametrize(
    "extra",
    [b"+OK\r\n", b":1\r\n", b"$-1\r\n", b"*2\r\n$1\r\nx\r\n:1\r\n", encode([b"x", [b"done"]])],
)
async def test_an_extra_reply_closes_the_connection(scripted: ScriptedServer, extra: bytes) -> None:
    """It would shift every later reply by one."""
    async with connect(scripted) as link:
        await call(link)
        scripted.respond = lambda command: extra + answer(command)
        results = await call_many(link, 3)
        scripted.respond = answer

        assert not any(isinstance(result, bytes) for result in results)
        assert b"7" == await call(link, 7)

    assert 2 == len(scripted.connections)


async def test_a_reply_that_nothing_waits_for_closes_the_connection(
    scripted: ScriptedServer,
) -> None:
    """A line without calls reads too, so the next call uses another connection."""
    async with connect(scripted) as link:
        await call(link)
        scripted.connections[0].write(b"+OK\r\n")
        await asyncio.sleep(0.05)

        assert b"7" == await call(link, 7)

    assert 2 == len(scripted.connections)


async def test_plain_commands_are_checked_as_well(scripted: ScriptedServer) -> None:
    """Their last reply echoes a token, so a shifted one is found."""
    async with connect(scripted) as link:
        await call(link)
        scripted.respond = lambda command: b":1\r\n" + answer(command)

        with pytest.raises(CallInterrupted) as interruption:
            await link.run_pipeline(KEY, [("GET", KEY)])

        assert isinstance(interruption.value.__cause__, UnexpectedReply)


@pytest.mark.parametrize("reply", [b"nonsense\r\n", b"\x00\x01", b"*-7\r\n", b"$x\r\n"])
async def test_bytes_that_are_no_reply_close_the_connection(
    scripted: ScriptedServer, reply: bytes
) -> None:
    async with connect(scripted) as link:
        await call(link)
        scripted.respond = lambda _: reply
        results = await call_many(link, 3)
        scripted.respond = answer

        assert all(isinstance(result, Disconnected) for result in results)
        assert b"7" == await call(link, 7)


async def test_a_half_reply_and_a_reset_are_a_lost_reply(scripted: ScriptedServer) -> None:
    """The part that arrived is no reply to anything."""
    async with connect(scripted) as link:
        await call(link)

        def break_in_a_reply(command: list[bytes]) -> bytes:
            scripted.connections[0].write(answer(command)[:-3])
            scripted.connections[0].close()
            return b""

        scripted.respond = break_in_a_reply
        results = await call_many(link, 2)
        scripted.respond = answer

        assert [CallInterrupted] * 2 == [type(result) for result in results]
        assert b"7" == await call(link, 7)


# -------------------------------------------------------------------------------------- the timer


async def test_the_oldest_command_is_timed(scripted: ScriptedServer) -> None:
    """Silence closes the connection once, however many calls wait."""
    async with connect(scripted, timeout_ms=500) as link:
        await call(link)
        scripted.respond = lambda _: b""
        start = asyncio.get_running_loop().time()
        results = await call_many(link, 500)
        took = asyncio.get_running_loop().time() - start
        scripted.respond = answer

        assert {CallInterrupted} == {type(result) for result in results}
        assert [True] + [False] * 499 == [result.is_due for result in results]
        assert isinstance(results[0].__cause__, TimedOut)
        assert 0.5 <= took < 60  # each in turn would take 250 s
        assert b"7" == await call(link, 7)


async def test_a_server_that_was_paused_keeps_its_connection(scripted: ScriptedServer) -> None:
    """What had collected is answered one by one, the last after more than the timeout."""
    held: list[bytes] = []

    def hold(command: list[bytes]) -> bytes:
        held.append(answer(command))
        return b""

    async with connect(scripted, timeout_ms=1500) as link:
        await call(link)
        scripted.respond = hold
        calls = asyncio.create_task(call_many(link, 16))
        await asyncio.sleep(0.8)  # the timer of the line is that of the event loop
        for reply in held:
            scripted.connections[0].write(reply)
            await asyncio.sleep(0.07)  # 1.9 s in all

        assert numbers(16) == await calls

    assert 1 == len(scripted.connections)


async def test_a_reply_that_never_ends_closes_the_connection(scripted: ScriptedServer) -> None:
    """A server that sends something all the time is not silent, and does not answer either."""

    async def send_slowly(writer: asyncio.StreamWriter) -> None:
        writer.write(b"$1000000\r\n")
        while not writer.is_closing():
            writer.write(b"x")
            await asyncio.sleep(0.02)

    async with connect(scripted, timeout_ms=200) as link:
        await call(link)
        scripted.respond = lambda _: b""
        sending = asyncio.create_task(send_slowly(scripted.connections[0]))
        start = asyncio.get_running_loop().time()
        results = await call_many(link, 2)
        took = asyncio.get_running_loop().time() - start
        sending.cancel()

    assert [CallInterrupted] * 2 == [type(result) for result in results]
    assert MAX_REPLY_TIMEOUTS * 0.2 <= took < 3


async def test_a_line_that_answers_in_turn_is_never_closed_by_the_timer(
    scripted: ScriptedServer,
) -> None:
    """The timer counts from each command's own write: here one is always under way."""
    loop = asyncio.get_running_loop()

    def answer_later(command: list[bytes]) -> bytes:
        loop.call_later(0.3, scripted.connections[0].write, answer(command))
        return b""

    async with connect(scripted, timeout_ms=1000) as link:
        await call(link)
        scripted.respond = answer_later
        calls = []
        for n in range(16):
            calls.append(asyncio.create_task(call(link, n)))
            await asyncio.sleep(0.15)  # 2.4 s in all, so the timer runs twice

        assert numbers(16) == await asyncio.gather(*calls)


# ------------------------------------------------------------------------------------- in flight


async def test_more_calls_in_flight_than_the_bound_are_refused(scripted: ScriptedServer) -> None:
    """503 at once, and the others are served when Redis answers."""
    async with connect(scripted) as link:
        await call(link)
        held = HeldReplies()
        scripted.respond = held.hold
        calls = [asyncio.create_task(call(link, n)) for n in range(MAX_CALLS_IN_FLIGHT)]
        await scripted.wait_until(lambda: len(scripted.commands) >= MAX_CALLS_IN_FLIGHT)

        with pytest.raises(StoreUnavailable):
            await call(link)
        for task in calls[:500]:
            task.cancel()
        await asyncio.sleep(0)
        with pytest.raises(StoreUnavailable):  # Redis still has to answer the canceled ones
            await call(link)

        scripted.connections[0].write(bytes(held.data))
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert numbers(MAX_CALLS_IN_FLIGHT)[500:] == results[500:]


async def test_a_call_of_others_that_breaks_the_connection_uses_up_no_tries(
    scripted: ScriptedServer,
) -> None:
    """One command breaks every connection that it is sent on; only its own caller gets 503."""

    def break_at_poison(command: list[bytes]) -> bytes | None:
        return None if b"poison" in command else answer(command)

    async with connect(scripted) as link:
        await call(link)
        scripted.respond = break_at_poison

        def repeat(value: int | str) -> Any:
            return link.retry_lost_reply(lambda: call(link, value))

        poisons = [repeat("poison") for _ in range(4)]
        results = await asyncio.gather(
            *poisons, *(repeat(n) for n in range(30)), return_exceptions=True
        )

    assert [StoreUnavailable] * 4 == [type(result) for result in results[:4]]
    assert numbers(30) == results[4:]
    assert len(scripted.connections) <= 4 * MAX_LOST_REPLIES + 1


# -------------------------------------------------------------------------------------- group WAIT


def waits(scripted: ScriptedServer) -> int:
    return sum(command[0] == b"WAIT" for command in scripted.commands)


async def test_one_wait_answers_every_durable_call_of_a_batch(scripted: ScriptedServer) -> None:
    """WAIT blocks its connection, so one for each call would make them take turns."""
    async with connect(scripted, replicas=1) as link:
        assert numbers(100) == await call_many(link, 100, durable=True)

    assert 1 == waits(scripted)
    assert [b"WAIT", b"1", b"100"] == scripted.commands[-1]


async def test_calls_during_a_wait_form_the_next_batch(scripted: ScriptedServer) -> None:
    """Never two WAITs one behind the other: the second would use up the timeout of both."""
    async with connect(scripted, replicas=1) as link:
        await call(link, durable=True)
        scripted.commands.clear()
        scripted.respond = lambda command: b"" if command[0] == b"WAIT" else answer(command)
        first = asyncio.create_task(call_many(link, 3, durable=True))
        await scripted.wait_until(lambda: waits(scripted))
        second = asyncio.create_task(call_many(link, 5, durable=True))
        await asyncio.sleep(0.02)
        assert 4 == len(scripted.commands)
        assert b"9" == await call(link, 9), "what need not be durable does not wait"

        scripted.respond = answer
        scripted.connections[0].write(b":1\r\n")
        assert numbers(3) == await first
        assert numbers(5) == await second

    assert 2 == waits(scripted)


async def test_too_few_acknowledgments_refuse_the_whole_batch(scripted: ScriptedServer) -> None:
    """None of these calls is known to be on the replica."""
    async with connect(scripted, replicas=1) as link:
        scripted.respond = lambda command: b":0\r\n" if command[0] == b"WAIT" else answer(command)
        results = await call_many(link, 10, durable=True)
        assert all(isinstance(result, StoreUnavailable) for result in results)

        scripted.respond = answer
        assert b"7" == await call(link, 7, durable=True)

    assert 2 == len(scripted.connections), "the name was resolved again"


async def test_a_wait_without_a_reply_leaves_the_batch_in_doubt(scripted: ScriptedServer) -> None:
    """The replies of its calls have arrived, but nobody may rely on them."""
    async with connect(scripted, replicas=1, timeout_ms=150) as link:
        scripted.respond = lambda command: b"" if command[0] == b"WAIT" else answer(command)
        for count in (1, 10):
            results = await call_many(link, count, durable=True)
            assert [CallInterrupted] * count == [type(result) for result in results]


@pytest.mark.parametrize("others", [0, 5])
async def test_a_command_that_cannot_be_packed_fails_by_itself(
    scripted: ScriptedServer, others: int
) -> None:
    """Every later durable call of the worker waited forever."""
    async with connect(scripted, replicas=1) as link:
        invalid = link.run_script(ECHO, ("{07}:\ud800",), (b"1",), durable=True)
        beside = (call(link, n, durable=True) for n in range(others))
        error, *results = await asyncio.gather(invalid, *beside, return_exceptions=True)

        assert isinstance(error, UnicodeEncodeError)
        assert results == numbers(others)
        async with asyncio.timeout(5):
            assert b"7" == await call(link, 7, durable=True)
            assert b"8" == await call(link, 8)


async def test_canceled_durable_calls_disturb_no_others(scripted: ScriptedServer) -> None:
    async with connect(scripted, replicas=1) as link:
        tasks = [asyncio.create_task(call(link, n, durable=True)) for n in range(60)]
        for round_ in range(3):
            await asyncio.sleep(0)
            for task in tasks[round_::6]:
                task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        kept = [r for r in results if not isinstance(r, asyncio.CancelledError)]
        assert kept == [str(n).encode() for n in range(60) if n % 6 >= 3]
        assert b"7" == await call(link, 7, durable=True)


async def test_canceled_callers_do_not_get_around_the_bound(scripted: ScriptedServer) -> None:
    """Of durable calls too."""
    async with connect(scripted, replicas=1, max_calls=5) as link:
        scripted.respond = lambda command: b"" if command[0] == b"WAIT" else answer(command)
        tasks = [asyncio.create_task(call(link, n, durable=True)) for n in range(5)]
        await scripted.wait_until(lambda: waits(scripted))
        for task in tasks:
            task.cancel()
        await asyncio.sleep(0)

        with pytest.raises(StoreUnavailable):
            await call(link, durable=True)


# --------------------------------------------------------------------------------- a real Redis


async def test_a_worker_has_two_connections(server: Any) -> None:
    """However many calls there are; CLIENT LIST names them."""
    lines = create_redis_lines(url=server.url, timeout_ms=5000)
    async with ScriptClient(lines, replicas=1, wait_ms=1) as link:
        await asyncio.gather(
            *(call(link, n, durable=n % 2 == 0) for n in range(200)), return_exceptions=True
        )
        with redis_servers.open_client(server) as admin:
            admin.flushall()
            named = [c for c in admin.client_list() if c["name"] == "otp-service"]
            killed = [admin.client_kill_filter(_id=c["id"]) for c in named]
        assert b"7" == await link.retry_lost_reply(lambda: call(link, 7)), "after CLIENT KILL"

    # Too few acknowledgments open another pair.
    assert 2 <= len(named) <= 4
    assert all(killed)


async def test_kills_of_the_connection_count_nothing_twice(server: Any) -> None:
    """CLIENT KILL in the middle of a thousand counts: each reply is a count of its own."""
    with redis_servers.open_client(server) as admin:
        admin.flushall()
        lines = create_redis_lines(url=server.url, timeout_ms=5000)
        async with ScriptClient(lines) as link:
            results: list[Any] = []
            for _ in range(10):
                tasks = [
                    asyncio.create_task(link.run_script(COUNT, (KEY,), ())) for _ in range(100)
                ]
                await asyncio.sleep(0)
                for one in admin.client_list():
                    if one["name"] == "otp-service":
                        admin.client_kill_filter(_id=one["id"])
                results += await asyncio.gather(*tasks, return_exceptions=True)
        counted = [result for result in results if isinstance(result, int)]

        assert len(set(counted)) == len(counted)
        assert all(isinstance(result, int | Disconnected) for result in results)
        assert len(counted) <= int(admin.get(KEY) or 0) <= 1000


async def test_an_acl_user_logs_in_before_anything_else(tmp_path: Any) -> None:
    """AUTH with user and password, then CLIENT SETNAME; INFO needs the login."""
    with (
        redis_servers.start_server(tmp_path) as server,
        redis_servers.open_client(server) as admin,
    ):
        admin.execute_command("ACL SETUSER", "otp", "reset", "on", ">sesame", "~*", "+@all")
        admin.execute_command("ACL SETUSER", "default", "off")
        lines = create_redis_lines(url=server.url, username="otp", password="sesame")
        async with ScriptClient(lines) as link:
            assert b"7" == await call(link, 7)
            (who,) = await link.run_pipeline(KEY, [("CLIENT", "LIST")])

    assert b"name=otp-service" in who
    assert b"user=otp" in who
