"""The small scripts of the model against those on a real server, call by call; and errors of commands."""

import asyncio
import os
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otp_service.store.commit_request import read_lua
from otp_service.store.embedded import EmbeddedServer
from otp_service.store.lua_script import LuaScript
from tests.simulation.redis_model.keyspace import Hash, Keyspace
from tests.simulation.redis_model.stream import Stream, format_id, parse_id
from tests.simulation.twin_lines import TwinLines


EXAMPLES = int(os.environ.get("OTP_MODEL_EXAMPLES", "40"))
"""Each is a list of calls."""

KEYS = ["{07}:log", "{07}:events", "{07}:refusals"]
BUCKET, SEALER = "{07}:bucket", "{00}:sealer"
IDS = ["1-1", "1-2", "2-3", "7-4", "9-5"]

SETTINGS = settings(
    max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Player:
    """Runs scripts, and the writes of other programs, on both servers."""

    def __init__(self, server: EmbeddedServer) -> None:
        self.lines = TwinLines(server.socket_path)
        self.keyspace: Keyspace = self.lines.model.keyspace

    def run(self, name: str, keys: Sequence[str], *arguments: object) -> Any:
        """Run a script by its source, which also makes it known by its digest."""
        script = LuaScript(read_lua(name))
        words = [str(argument).encode() for argument in arguments]
        reply = self.lines.run_both(("EVAL", script.source, len(keys), *keys, *words, b"token"))
        self.lines.compare_data()
        return reply

    def append(self, stream: str, entry_id: str, *fields: str) -> None:
        """XADD, unless the id is not higher."""
        key, parts = stream.encode(), [field.encode() for field in fields]
        stored = self.keyspace.get(key) or Stream()
        assert isinstance(stored, Stream)
        if parse_id(entry_id.encode()) > stored.last_id:
            self.lines.run_real("XADD", stream, entry_id, *parts)
            self.keyspace.put(key, stored.append(parse_id(entry_id.encode()), parts))

    def trim(self, stream: str, length: int) -> None:
        """XTRIM, if the stream exists."""
        stored = self.keyspace.get(stream.encode())
        self.lines.run_real("XTRIM", stream, "MAXLEN", length)
        if isinstance(stored, Stream):
            self.keyspace.replace(stream.encode(), stored.trim_to(length))

    def find_id(self, place: int) -> str:
        """Return the id of an event or a refusal, empty for none."""
        streams = [self.keyspace.get(key.encode()) for key in KEYS[1:]]
        ids = sorted(e.id for s in streams if isinstance(s, Stream) for e in s.list_range())
        return format_id(ids[place]).decode() if -len(ids) <= place < len(ids) else ""

    def set_fields(self, key: str, fields: dict[str, str]) -> None:
        """HSET."""
        self.lines.run_real("HSET", key, *(part for pair in fields.items() for part in pair))
        stored = self.keyspace.get(key.encode())
        before = stored.fields if isinstance(stored, Hash) else {}
        changed = {name.encode(): value.encode() for name, value in fields.items()}
        self.keyspace.replace(key.encode(), Hash({**before, **changed}))

    def delete_fields(self, key: str, *names: str) -> None:
        """HDEL."""
        self.lines.run_both(("HDEL", key, *names))


@pytest.fixture
def player(server: EmbeddedServer) -> Iterator[Player]:
    """Both servers, without data."""

    async def create() -> Player:
        return Player(server)

    player = asyncio.run(create())
    yield player
    player.lines.close()


LEASES = st.tuples(
    st.sampled_from(["me", "you"]),
    st.sampled_from([0, 1, 3, 60_000, 10**9]),
    st.integers(0, 9),
    st.sampled_from(["{}", ""]),
)


@SETTINGS
@given(calls=st.lists(LEASES, max_size=12))
def test_a_lease_is_held_as_on_a_real_server(player: Player, calls: list[Any]) -> None:
    """With its fence, also one that was acquired while the clock was ahead."""
    player.lines.empty()
    for call in calls:
        player.run("lease", [SEALER], *call)


APPENDS = st.tuples(st.just("append"), st.sampled_from(KEYS[1:]), st.sampled_from(IDS))
FLOODS = st.tuples(st.just("flood"), st.integers(10, 20), st.sampled_from([63, 64, 65, 66]))
LOG_FIELDS = st.dictionaries(
    st.sampled_from(["epoch", "seq", "ms", "waiting", "fence"]),
    st.sampled_from(["1", "63", "70", "500"]),
    min_size=1,
)
MARKS = st.tuples(
    st.just("mark"),
    st.integers(0, 3),
    st.integers(-2, 3),
    st.sampled_from(["", "0", "1", "30"]),
    st.integers(1, 8),
)
"""Fence, the place of the position among the entries, the count of events, the most entries."""
LOG_CALLS = st.one_of(
    APPENDS,
    APPENDS,
    FLOODS,
    st.tuples(st.just("write"), LOG_FIELDS),
    st.tuples(st.just("forget"), st.sampled_from(["waiting", "archived"])),
    st.tuples(st.just("read"), st.integers(1, 3), st.integers(0, 1)),
    MARKS,
    MARKS,
    st.tuples(st.just("trim"), st.sampled_from(KEYS[1:]), st.integers(0, 3)),
)


def call_log(player: Player, call: tuple[Any, ...]) -> None:
    """Do one thing to a log."""
    match call:
        case "append", stream, entry_id:
            player.append(stream, entry_id, "event", "{}")
        case "flood", first, count:
            for number in range(count):
                player.append(KEYS[1], f"{first}-{number}", "event", "{}")
        case "write", fields:
            player.set_fields(KEYS[0], fields)
        case "forget", name:
            player.delete_fields(KEYS[0], name)
        case "read", count, reads_all:
            player.run("read_pending", KEYS, count, reads_all)
        case "trim", stream, length:
            player.trim(stream, length)
        case _:
            _, fence, place, event_count, max_entries = call
            stored = player.keyspace.get(KEYS[0].encode())
            before = stored.fields.get(b"archived", b"") if isinstance(stored, Hash) else b""
            position = player.find_id(place) or before.decode()
            arguments = (before.decode(), position, "5-5", event_count, max_entries)
            player.run("mark_archived", KEYS, fence, *arguments)


@SETTINGS
@given(calls=st.lists(LOG_CALLS, min_size=4, max_size=20))
def test_a_log_is_read_and_marked_as_on_a_real_server(player: Player, calls: list[Any]) -> None:
    """With what waits, what is trimmed, and marks that come too late."""
    player.lines.empty()
    for call in calls:
        call_log(player, call)


def test_a_mark_of_another_position_is_refused(player: Player) -> None:
    """Another sealer was faster, or Redis has lost the entry."""
    player.append(KEYS[1], "1-1", "event", "{}")
    arguments = ("5-5", "1", "9")

    assert [b"token", 0] == player.run("mark_archived", KEYS, 1, "1-1", "1-1", *arguments)
    assert [b"token", 0] == player.run("mark_archived", KEYS, 1, "", "1-2", *arguments)
    assert [b"token", 1] == player.run("mark_archived", KEYS, 1, "", "1-1", *arguments)
    assert [b"token", 0] == player.run("mark_archived", KEYS, 0, "1-1", "1-1", *arguments)


@pytest.mark.parametrize("waiting", ["", "100"])
@pytest.mark.parametrize("count", [63, 64, 65, 66])
@pytest.mark.parametrize("event_count", ["", "1"])
def test_what_waits_is_counted_as_soon_as_that_is_cheap(
    player: Player, waiting: str, count: int, event_count: str
) -> None:
    """With fewer than 64 events after the mark; at 64 there may be more."""
    for number in range(count):
        player.append(KEYS[1], f"5-{number}", "event", "{}")
    player.set_fields(KEYS[0], {"waiting": waiting})

    player.run("mark_archived", KEYS, 1, "", "5-0", "5-0", event_count, 100)


def test_an_addition_to_a_sorted_set_keeps_its_expiry(player: Player) -> None:
    """As of the inbox of tests, before its own PEXPIRE."""
    for command in (("ZADD", "z", 1, "m"), ("PEXPIRE", "z", 60_000), ("ZADD", "z", 2, "n")):
        player.lines.run_both(command)

    player.lines.compare_data()


MOVES = st.sampled_from(["m1", "m2"])
MOVE_CALLS = st.one_of(
    st.tuples(
        st.just("add"),
        MOVES,
        st.integers(0, 9),
        st.sampled_from([0, 1000, 1 << 41]),
        st.sampled_from(["sealed"]),
        st.sampled_from([1, 60_000, 10**10]),
    ),
    st.tuples(st.just("take"), MOVES, st.integers(0, 9)),
    st.tuples(st.just("finish"), MOVES, st.integers(0, 9)),
    st.tuples(st.just("forget"), MOVES),
    st.tuples(st.just("charge"), st.integers(1, 9)),
)


@SETTINGS
@given(calls=st.lists(MOVE_CALLS, min_size=4, max_size=20))
def test_failures_move_as_on_a_real_server(player: Player, calls: list[Any]) -> None:
    """In any order of calls, with charges between them."""
    player.lines.empty()
    for call in calls:
        if call[0] == "charge":
            player.set_fields(BUCKET, {"count": str(call[1]), "last": "1000"})
        else:
            player.run("move_failures", [BUCKET], *call)


VALUES = st.sampled_from(["", "1", "00000001x", "2"])
COMMANDS = st.one_of(
    st.tuples(st.just("SET"), st.sampled_from("ab"), VALUES),
    st.tuples(st.just("SET"), st.sampled_from("ab"), VALUES, st.just("NX")),
    st.tuples(st.just("SET"), st.sampled_from("ab"), VALUES, st.just("PX"), st.sampled_from([-1, 0, 1, 60_000])),
    st.tuples(st.just("GET"), st.sampled_from("abz")),
    st.tuples(st.just("GETRANGE"), st.sampled_from("ab"), st.integers(0, 3), st.integers(0, 9)),
    st.tuples(st.just("EXISTS"), st.sampled_from("ab")),
    st.tuples(st.just("PEXPIRE"), st.sampled_from("abz"), st.sampled_from([-1, 0, 1, 60_000])),
    st.tuples(st.just("ZADD"), st.sampled_from("az"), st.integers(-3, 3), st.sampled_from("mno")),
    st.tuples(
        st.just("ZREMRANGEBYSCORE"), st.just("z"), st.sampled_from(["-inf", "-1"]), st.integers(-3, 3)
    ),
    st.tuples(st.just("ZREMRANGEBYRANK"), st.just("z"), st.just(0), st.integers(-4, 3)),
    st.tuples(st.just("ZRANGE"), st.sampled_from("az"), st.just(0), st.just(-1), st.just("REV")),
    st.tuples(st.sampled_from(["HGETALL", "SMEMBERS"]), st.sampled_from("ahs")),
    st.tuples(st.just("HDEL"), st.sampled_from("ah"), VALUES, VALUES),
    st.tuples(st.just("HMGET"), st.sampled_from("ah"), VALUES, VALUES),
    st.tuples(st.just("HGET"), st.sampled_from("ah"), VALUES),
    st.tuples(st.just("SREM"), st.sampled_from("as"), VALUES),
    st.tuples(
        st.just("XREVRANGE"), st.sampled_from("ax"), st.sampled_from(["(2-3", "+", "7", "x"]),
        st.sampled_from(["-", "2", "1-2"]), st.just("COUNT"), st.integers(1, 3),
    ),
    st.tuples(st.just("SCAN"), st.just(0), st.just("MATCH"), st.sampled_from(["*", "[a-b]", "z*"])),
    st.tuples(st.sampled_from(["GET", "HGET", "DBSIZE"]), st.just("a"), st.just("b"),
              st.just("c")),
    st.tuples(st.just("DBSIZE")),
)  # fmt: skip


@SETTINGS
@given(commands=st.lists(COMMANDS, min_size=5, max_size=30))
def test_commands_are_answered_as_by_a_real_server(player: Player, commands: list[Any]) -> None:
    """On keys of every type, with errors and expiries."""
    player.lines.empty()
    for entry_id in IDS:
        player.append("x", entry_id, "event", "{}")
    player.set_fields("h", {"1": "a", "2": "b", "": "c"})
    player.lines.run_real("SADD", "s", "1", "2")
    player.keyspace.put(b"s", frozenset((b"1", b"2")))
    for command in commands:
        player.lines.run_both(command)
    player.lines.compare_data()
