"""What a log line and a command say about a failed call of Redis."""

import logging

import pytest
from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import RedisClusterException
from redis.exceptions import TimeoutError as TimedOut

from otp_service.core.errors import NotReplicated, StoreUnavailable
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.failure_log import (
    MAX_DESCRIPTIONS,
    REPEAT_INTERVAL_SECONDS,
    FailureLog,
    describe_error,
    find_error_code,
    is_wrong_server,
)
from otp_service.store.lua_script import LuaScript
from otp_service.store.reply_errors import (
    CallInterrupted,
    ServerUnavailable,
    UnexpectedReply,
    parse_error_reply,
)
from tests.store import redis_servers
from tests.store.faulty_proxy import FaultyProxy


WRONG_SERVER = [
    "READONLY You can't write against a read only replica.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "LOADING Redis is loading the dataset in memory",
    "MOVED 3999 127.0.0.1:1",
    "ASK 3999 127.0.0.1:1",
    "CLUSTERDOWN The cluster is down",
    "NOREPLICAS Not enough good replicas to write.",
    "MISCONF Errors writing to the AOF file: No space left on device",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "UNKILLABLE Sorry the script already executed write commands against the dataset.",
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
    "NOAUTH Authentication required.",
    "WRONGPASS invalid username-password pair or user is disabled.",
    "NOPERM User otp has no permissions to run the 'evalsha' command",
]

OWN_FAULT = [
    "ERR user_script:42: Script attempted to access nonexistent global variable 'x'",
    "WRONGTYPE Operation against a key holding the wrong kind of value",
    "NOSCRIPT No matching script. Please use EVAL.",
    "TRYAGAIN Multiple keys request during rehashing of slot",
]


@pytest.mark.parametrize("reply", [*WRONG_SERVER, *OWN_FAULT], ids=lambda text: text.split()[0])
def test_a_description_begins_with_the_code_of_redis(reply):
    """29 different errors looked the same to an operator."""
    error = parse_error_reply(reply)

    assert find_error_code(error) == reply.split()[0]
    assert describe_error(error).startswith(f"Redis answered {reply.split()[0]}")
    assert (reply in WRONG_SERVER) == is_wrong_server(error)


@pytest.mark.parametrize(
    ("reply", "description"),
    [
        ("READONLY You can't write against a read only replica.", None),
        ("MOVED 3999 10.0.0.7:6379", "Redis answered MOVED: *"),
        (
            "NOPERM User otp has no permissions to run the 'evalsha' command",
            "Redis answered NOPERM: User otp has no permissions to run the EVALSHA",
        ),
        (
            "ERR unknown command 'GTE', with args beginning with: '{07}:secret:x' '428913' ",
            "Redis answered ERR: unknown command *",
        ),
        (
            "ERR value 428913 of {07}:secret:shop:c07-9f is not an integer",
            "Redis answered ERR: value * of * is not an integer",
        ),
        (
            "ERR user_script:42: attempt to compare number with nil script: 9f3a, on @user_script:42.",
            "Redis answered ERR: user_script:42: attempt to compare number with nil script: * on *",
        ),
        ("lower case and 123", "Redis answered an error: lower case and *"),
        ("NOREPLICAS", "Redis answered NOREPLICAS"),
    ],
)
def test_a_description_has_neither_keys_nor_values(reply, description):
    """R68: a text of Redis may repeat arguments of the command."""
    expected = description or f"Redis answered {reply.replace(' ', ': ', 1)}"

    assert expected == describe_error(parse_error_reply(reply))


def test_a_long_text_is_cut():
    assert len(describe_error(parse_error_reply("ERR " + "word " * 1000))) < 200


def raised_from(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def test_the_error_of_redis_py_behind_sentinel_names_the_answer():
    """It replaces READONLY with a text of its own."""
    answer = parse_error_reply(WRONG_SERVER[0])
    error = raised_from(Disconnected("The previous master is now a slave"), answer)

    assert describe_error(answer) == describe_error(error)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (raised_from(Disconnected("x"), ConnectionRefusedError(111, "secret")), "refused"),
        (
            Disconnected("Error 111 connecting to db.internal:6379. 111."),
            "to db.internal:6379 failed (ConnectionError)",
        ),
        (raised_from(Disconnected("x"), OSError("of no number")), "(ConnectionError)"),
        (TimedOut("x"), "redis.timeout_milliseconds"),
        (UnexpectedReply("x"), "a reply did not belong to its command"),
        (CallInterrupted("x"), "again and again during calls"),
        (raised_from(CallInterrupted("x"), Disconnected("y")), "again and again during calls"),
        (raised_from(CallInterrupted("x"), TimedOut("y")), "redis.timeout_milliseconds"),
        (raised_from(ServerUnavailable("x"), TimedOut("y")), "redis.timeout_milliseconds"),
        (ServerUnavailable("the client was closed"), "(ServerUnavailable)"),
        (RedisClusterException("x"), "redis.cluster"),
        (MasterNotFoundError("No master found for 'otp' : Redis<x>"), "redis.sentinel"),
    ],
)
def test_an_error_of_the_connection_is_told_in_terms_of_the_settings(error, words):
    """A class of redis-py does not help an operator."""
    assert words in describe_error(error)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("reply", "kind"),
    [("OOM command not allowed", "OOM"), ("QUORUMLOST of a module", ""), ("ERR x", "ERR")],
)
def test_metrics_name_known_codes_alone(reply: str, kind: str) -> None:
    """A script or a module may invent codes, and each would be a time series."""
    assert kind == FailureLog(Clock()).report(parse_error_reply(reply)).kind


def test_missing_replicas_are_no_error_of_the_connection():
    """The operator has to look for the replica, not for the network."""
    error = NotReplicated(b"", cause="0 of 1 replicas have a change in time")

    assert "0 of 1 replicas have a change in time" == describe_error(error)


def test_an_outage_does_not_flood_the_log(caplog):
    """One line in ten seconds for each description, and then how many there were."""
    clock = Clock()
    log = FailureLog(clock)

    for _ in range(1000):
        log.report(TimedOut())
    log.report(Disconnected())
    clock.now = REPEAT_INTERVAL_SECONDS
    log.report(TimedOut())

    first, other, later = caplog.messages
    assert "timeout" in first
    assert "connection" in other
    assert f"{first} (999 more since the last line)" == later
    assert {logging.WARNING} == {record.levelno for record in caplog.records}


def test_a_server_that_invents_errors_fills_no_memory(caplog):
    """Only the newest descriptions are remembered."""
    log = FailureLog(Clock())

    for i in range(200):
        letters = "".join(chr(97 + int(digit)) for digit in str(i))
        log.report(parse_error_reply(f"ERR {letters}"))

    assert len(caplog.messages) == 200
    assert len(log._silent_until) == len(log._repeat_counts) == MAX_DESCRIPTIONS


READ = LuaScript("#!lua flags=no-writes\nreturn redis.call('GET', KEYS[1])")


async def test_a_failed_call_is_logged_with_the_answer_of_redis(server, caplog):
    """The error that is raised has the same text for commands, and none of it for callers."""
    async with (
        FaultyProxy(server) as proxy,
        ScriptClient(create_redis_lines(url=proxy.url, timeout_ms=5000)) as link,
    ):
        proxy.fail_next(b"-MISCONF Errors writing to the AOF file: 9f '{07}:x'\r\n", times=10)

        with pytest.raises(StoreUnavailable) as caught:
            await link.retry_lost_reply(lambda: link.run_script(READ, ("{07}:x",), ()))

    text = "Redis answered MISCONF: Errors writing to the AOF file: *"
    assert [f"a call failed: {text}"] == caplog.messages
    assert (text, "MISCONF") == (caught.value.cause, caught.value.kind)
    assert "MISCONF" not in str(caught.value)


async def test_a_server_that_is_away_is_logged(caplog):
    port = redis_servers.find_free_port()
    async with ScriptClient(create_redis_lines(url=f"redis://127.0.0.1:{port}")) as link:
        with pytest.raises(StoreUnavailable):
            await link.read_each(["{07}:x"], "GET")

    text = f"the connection to 127.0.0.1:{port} failed (Connection refused)"
    assert [f"a call failed: {text}"] == caplog.messages


async def test_a_cluster_that_is_away_is_logged(caplog):
    cluster = [f"127.0.0.1:{redis_servers.find_free_port()}"]
    async with ScriptClient(create_redis_lines(cluster=cluster)) as link:
        with pytest.raises(StoreUnavailable):
            await link.read_each(["{07}:x"], "GET")

    assert ["a call failed: no node of redis.cluster answers with a whole cluster"] == (
        caplog.messages
    )


async def test_too_few_replicas_are_logged(server, caplog):
    strict = ScriptClient(create_redis_lines(url=server.url), replicas=1, wait_ms=1)
    async with strict:
        with pytest.raises(StoreUnavailable):
            await strict.retry_lost_reply(
                lambda: strict.run_script(READ, ("{07}:x",), (), durable=True)
            )

    assert ["a call failed: 0 of 1 replicas have a change in time"] == caplog.messages
