"""Streams of the model against those of a real server, call by call."""

import os
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otp_service.store.embedded import EmbeddedServer
from tests.simulation.redis_model.stream import (
    MAX_ID,
    Stream,
    format_id,
    parse_id,
    parse_range_end,
    parse_range_start,
)
from tests.store import redis_servers


EXAMPLES = int(os.environ.get("OTP_MODEL_EXAMPLES", "25"))
"""Each is a list of calls."""

VALUES = st.one_of(
    st.binary(max_size=4),
    st.integers(-(2**65), 2**65).map(lambda number: b"%d" % number),
    st.sampled_from([b"0", b"-0", b"007", b"+1", b"12", b"4095", b"-4096", b"65535", b"9" * 20]),
    st.integers(60, 70).map(lambda size: b"x" * size),
    st.integers(120, 130).map(lambda size: b"x" * size),
    st.integers(400, 2000).map(lambda size: b"x" * size),
    st.integers(4088, 4100).map(lambda size: b"x" * size),
)
"""Around the sizes at which a listpack encodes differently, or a node is full."""

NAMES = st.sampled_from([(b"event",), (b"event", b"mac"), (b"12", b"mac")])

APPENDS = st.tuples(
    st.just("append"),
    st.sampled_from([1, 1, 1, 40, 110]),
    st.sampled_from([0, 1, 200, 40_000]),
    NAMES,
    VALUES,
)
"""How many entries, after how many milliseconds, and what is in them."""

POSITIONS = st.integers(0, 200)
CALLS = st.one_of(
    APPENDS,
    APPENDS,
    st.tuples(st.just("delete"), st.lists(POSITIONS, min_size=1, max_size=60)),
    st.tuples(st.just("trim before"), POSITIONS, st.booleans()),
    st.tuples(st.just("trim to"), POSITIONS, st.booleans()),
)


class Pair:
    """A stream of the model and the same one on a server."""

    def __init__(self, client: redis.Redis) -> None:
        self.client, self.model = client, Stream()
        self.client.delete("s")

    def run(self, call: tuple[Any, ...]) -> None:
        """Run a call on both."""
        match call:
            case "append", count, ms, names, value:
                self.append(count, ms, names, value)
            case "delete", positions:
                ids = [self.find_id(position) for position in positions]
                self.model = self.model.delete(*ids)
                self.client.execute_command("XDEL", "s", *map(format_id, ids))
            case "trim before", position, is_approximate:
                min_id = self.find_id(position)
                self.model = self.model.trim_before(min_id, is_approximate=is_approximate)
                self.trim("MINID", format_id(min_id), is_approximate)
            case _:
                _, length, is_approximate = call
                self.model = self.model.trim_to(length, is_approximate=is_approximate)
                self.trim("MAXLEN", length, is_approximate)

    def append(self, count: int, ms: int, names: tuple[bytes, ...], value: bytes) -> None:
        """Append entries with values of which the last one varies."""
        pipeline = self.client.pipeline(transaction=False)
        for number in range(count):
            entry_id = (self.model.last_id[0] + ms, self.model.last_id[1] + 1)
            values = [value] * (len(names) - 1) + [value if number % 2 else b"%d" % number]
            fields = [item for pair in zip(names, values, strict=True) for item in pair]
            self.model = self.model.append(entry_id, fields)
            pipeline.execute_command("XADD", "s", format_id(entry_id), *fields)
        pipeline.execute()

    def trim(self, *arguments: Any) -> None:
        strategy, limit, is_approximate = arguments
        self.client.execute_command("XTRIM", "s", strategy, "~" if is_approximate else "=", limit)

    def find_id(self, position: int) -> tuple[int, int]:
        entries = self.model.list_range()
        return entries[position % len(entries)].id if entries else (position, 0)

    def read(self) -> list[tuple[bytes, tuple[bytes, ...]]]:
        """Return the entries on the server."""
        entries: Any = self.client.xrange("s")
        return [
            (name, tuple(i for pair in fields.items() for i in pair)) for name, fields in entries
        ]

    def count_nodes(self) -> int:
        """Return the nodes on the server."""
        if not self.client.exists("s"):
            return 0
        state: Any = self.client.xinfo_stream("s")
        return state["radix-tree-keys"]


@pytest.fixture
def client(server: EmbeddedServer):
    """A client of the embedded server."""
    with redis_servers.open_client(server) as client:
        yield client


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(calls=st.lists(CALLS, max_size=12))
def test_a_stream_has_the_entries_of_a_real_one(
    client: redis.Redis, calls: list[tuple[Any, ...]]
) -> None:
    """After each call, with as many nodes: an approximate trim leaves the one that has both kinds."""
    pair = Pair(client)
    for call in calls:
        pair.run(call)
        entries = [(format_id(entry.id), entry.fields) for entry in pair.model.list_range()]
        assert pair.read() == entries
        assert len(entries) == pair.model.length
        assert pair.count_nodes() == len(pair.model.nodes)


def test_a_node_is_full_at_the_size_of_a_real_one(client: redis.Redis) -> None:
    """At each size around the limit."""
    for size in range(4000, 4090):
        pair = Pair(client)
        pair.append(1, 1, (b"f",), b"x")
        pair.run(("append", 2, 1, (b"f",), b"x" * (size - 40)))
        pair.append(3, 1, (b"f",), b"xyzuvw")
        assert pair.count_nodes() == len(pair.model.nodes), size


def test_a_node_counts_the_entries_that_were_deleted(client: redis.Redis) -> None:
    """It takes a hundred, whatever is left of them."""
    pair = Pair(client)
    pair.append(100, 1, (b"f",), b"x")
    pair.run(("delete", [0, 1, 2]))
    pair.append(1, 1, (b"f",), b"x")

    assert 2 == pair.count_nodes() == len(pair.model.nodes)


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    first=st.one_of(st.integers(0, 30), st.just("-")),
    last=st.one_of(st.integers(0, 30), st.just("+")),
    is_open=st.tuples(st.booleans(), st.booleans()),
    count=st.integers(1, 8),
)
def test_a_range_is_that_of_a_real_one(
    client: redis.Redis, first, last, is_open: tuple[bool, bool], count: int
) -> None:
    """With ends that are excluded, and ids of milliseconds alone."""
    pair = Pair(client)
    pair.append(20, 0, (b"f",), b"v")
    pair.append(5, 1, (b"f",), b"v")
    ends = [
        end if isinstance(end, str) else ("(" if excluded else "") + (f"0-{end}" if end else "1")
        for end, excluded in zip((first, last), is_open, strict=True)
    ]
    expected: Any = client.execute_command("XRANGE", "s", *ends, "COUNT", count)

    found = pair.model.list_range(
        parse_range_start(ends[0].encode()), parse_range_end(ends[1].encode()), count
    )

    assert [name for name, _ in expected] == [format_id(entry.id) for entry in found]


def test_an_id_that_is_not_higher_is_refused() -> None:
    """Also when the entry with the last id was deleted."""
    stream = Stream().append((5, 1), (b"f", b"v")).delete((5, 1))

    assert 0 == stream.length
    with pytest.raises(ValueError, match="not after"):
        stream.append((5, 1), (b"f", b"v"))


@pytest.mark.parametrize("text", [b"", b"a", b"1-", b"-1", b"1-b", b"18446744073709551616-1"])
def test_an_invalid_id_is_refused(text: bytes) -> None:
    """Redis has two numbers of 64 bits."""
    with pytest.raises(ValueError, match="two numbers"):
        parse_id(text)


def test_the_ends_of_a_range_go_over_to_the_next_millisecond() -> None:
    """After the last sequence, and before the first one."""
    assert (6, 0) == parse_range_start(b"(5-%d" % MAX_ID[1])
    assert (4, MAX_ID[1]) == parse_range_end(b"(5-0")
