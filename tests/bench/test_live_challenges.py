"""The loader of the bench writes what the store has written."""

import pytest
import redis

from bench.live_challenges import LIFE_MS, fill_challenges, list_challenge_keys
from tests.store.redis_servers import start_server


pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory):
    with start_server(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def client(server):
    with redis.Redis.from_url(server.url) as client:
        client.flushall()
        yield client


def write_challenges(client: "redis.Redis", count: int) -> None:
    """Write keys as the store names them: of a challenge, of its number, and of a partition."""
    for index in range(count):
        tag = f"{{{index % 64:02d}}}"
        client.set(f"{tag}:challenge:shop:{index:032x}", b"x" * 300, px=300_000)
        bucket = f"{tag}:limit:SendsPerNumber:shop:{index + 7:032x}"
        client.zadd(bucket, {b"a": 1.0, b"b": 2.0})
        client.pexpire(bucket, 600_000)
        client.set(f"{tag}:limit:CooldownPerNumber:shop:{index + 7:032x}", b"1", px=30_000)
        client.set(f"{tag}:operation:{index:032x}", b"done", px=60_000)
        client.hset(f"{tag}:log", "sequence", index)
    client.set("{05}:limit:SendsOverall::" + "0" * 32, b"1")


def test_what_is_of_one_challenge_is_copied_with_value_partition_and_expiry(client, server):
    write_challenges(client, 100)

    fill_challenges(server.url, 100, 1000)

    challenges = list(client.scan_iter("*:challenge:shop:*"))
    limits = list(client.scan_iter("*:limit:SendsPerNumber:shop:*"))
    assert 1000 == len(challenges) == len(limits)
    assert {b"x" * 300} == {client.get(key) for key in challenges}
    assert {2} == {client.zcard(key) for key in limits}
    assert {len(b"{00}:challenge:shop:") + 32} == {len(key) for key in challenges}
    assert 64 == len({key[:4] for key in challenges})
    assert min(client.pttl(key) for key in challenges) > LIFE_MS / 2


def test_what_many_challenges_share_or_what_ends_soon_is_not_copied(client, server):
    write_challenges(client, 100)
    patterns = ("*:operation:*", "*:log", "*:SendsOverall:*", "*:CooldownPerNumber:*")
    before = {pattern: len(client.keys(pattern)) for pattern in patterns}

    fill_challenges(server.url, 100, 300)

    assert before == {pattern: len(client.keys(pattern)) for pattern in patterns}


def test_the_bytes_of_a_challenge_are_those_that_redis_uses(client, server):
    write_challenges(client, 100)

    size = fill_challenges(server.url, 100, 5000)

    assert 500 < size < 900


def test_keys_of_one_kind_are_listed_for_each_challenge(client):
    write_challenges(client, 100)

    assert 200 == len(list_challenge_keys(client, 100))
