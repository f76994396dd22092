"""What the commit script packs and encodes, as Redis does it and as its model does."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otp_service.store.embedded import EmbeddedServer
from tests.simulation.redis_model.commit_script.event_log import encode_stamp
from tests.simulation.redis_model.commit_script.packed_values import (
    pack_numbers,
    pack_reply,
    unpack_reply,
)
from tests.store import redis_servers


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(-1e15, 1e15) | st.integers(-(2**53), 2**53).map(float), max_size=40))
def test_numbers_are_packed_as_redis_packs_them(
    server: EmbeddedServer, numbers: list[float]
) -> None:
    """As the shortest integer, as single precision if that is exact, or as a double."""
    packed = msgspec.msgpack.encode(numbers)
    with redis_servers.open_client(server) as connection:
        stored = connection.eval("return cmsgpack.pack(cmsgpack.unpack(ARGV[1]))", 0, packed)

    assert stored == pack_numbers(numbers)


def test_a_fraction_of_single_precision_is_packed_so(server: EmbeddedServer) -> None:
    with redis_servers.open_client(server) as connection:
        stored = connection.eval("return cmsgpack.pack({0.5, -2.25, 1 / 3, 4})", 0)

    assert stored == pack_numbers([0.5, -2.25, 1 / 3, 4])


@pytest.mark.parametrize("size", [0, 31, 32, 255, 256, 65_535, 65_536])
def test_a_value_of_each_size_in_a_reply_is_packed_as_redis_packs_it(
    server: EmbeddedServer, size: int
) -> None:
    """A sealed record has any bytes; false stands for a key that is missing."""
    value = b"\xff" * size
    with redis_servers.open_client(server) as connection:
        stored = connection.eval(
            "return cmsgpack.pack({'done', 1763814000123, {0, 1}, ARGV[1], false})", 0, value
        )

    reply = [b"done", 1_763_814_000_123, [0, 1], value, None]
    assert stored == pack_reply(reply)
    assert reply == unpack_reply(stored)


@pytest.mark.parametrize("number", [10**14 - 1, 10**14, 123_456_789_012_345, 2**53])
def test_a_number_in_a_stamp_has_fourteen_digits(server: EmbeddedServer, number: int) -> None:
    with redis_servers.open_client(server) as connection:
        written = connection.eval("return cjson.encode({ wait = ARGV[1] + 0 })", 0, number)

    assert msgspec.json.decode(written) == msgspec.json.decode(encode_stamp({"wait": number}))
