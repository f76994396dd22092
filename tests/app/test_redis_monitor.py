"""The monitor of the Redis in use: metrics and log lines of what makes it unsafe."""

import pytest

from otp_service.app.redis_monitor import RedisMonitor
from otp_service.core.errors import StoreUnavailable
from otp_service.store.client import ScriptClient
from otp_service.store.connect import create_redis_lines
from otp_service.store.mode_mark import MODE_KEY, read_mode
from otp_service.telemetry import Metrics
from tests.store import redis_servers


def read_issues(metrics: Metrics) -> dict[str, float]:
    page = metrics.render_metrics()[0].decode().splitlines()
    lines = [line.split(" ") for line in page if line.startswith("otp_redis_issues{")]
    return {name.split('"')[1]: float(value) for name, value in lines}


async def test_a_redis_that_becomes_unsafe_is_counted_and_logged(tmp_path, caplog):
    """R76, R78: the start checked another one, or none."""
    metrics = Metrics("1", tenants=(), providers=())
    with (
        redis_servers.start_server(tmp_path) as server,
        redis_servers.open_client(server) as admin,
    ):
        async with ScriptClient(create_redis_lines(url=server.url, timeout_ms=5000)) as link:
            monitor = RedisMonitor(link, metrics, "live")
            await monitor.update_metrics()
            assert {} == read_issues(metrics)

            admin.config_set("maxmemory-policy", "volatile-lru")
            await monitor.update_metrics()
            assert {"maxmemory-policy": 1} == read_issues(metrics)

            admin.config_set("maxmemory-policy", "noeviction")
            await monitor.update_metrics()
            assert {"maxmemory-policy": 0} == read_issues(metrics)

    (line,) = caplog.messages
    assert line.startswith("Redis is not safe: maxmemory-policy of Redis is volatile-lru: set it")


@pytest.mark.slow
async def test_a_replica_that_is_added_is_noticed(tmp_path):
    """WAIT would count one of two, and Sentinel may promote the other."""
    metrics = Metrics("1", tenants=(), providers=())
    with redis_servers.start_sentinel(tmp_path) as (master, _, sentinel):
        lines = create_redis_lines(
            sentinel=[f"127.0.0.1:{sentinel.port}"], master="otp", timeout_ms=5000
        )
        async with ScriptClient(lines, replicas=1, wait_ms=1000) as link:
            monitor = RedisMonitor(link, metrics, "live")
            await monitor.update_metrics()
            assert {} == read_issues(metrics)

            with redis_servers.start_replica(tmp_path / "second", master):
                await monitor.update_metrics()

    assert {"redis.replicas": 1} == read_issues(metrics)


async def test_a_redis_that_is_away_is_not_unsafe(caplog):
    """It is another fault, with its own metric."""
    metrics = Metrics("1", tenants=(), providers=())
    port = redis_servers.find_free_port()
    async with ScriptClient(create_redis_lines(url=f"redis://127.0.0.1:{port}")) as link:
        with pytest.raises(StoreUnavailable):
            await RedisMonitor(link, metrics, "live").update_metrics()

    assert {} == read_issues(metrics)
    assert [f"a call failed: the connection to 127.0.0.1:{port} failed (Connection refused)"] == (
        caplog.messages
    )


async def test_a_redis_without_a_mark_is_marked_while_the_service_runs(tmp_path, caplog):
    """A25: else a service for tests takes it for its own, and a reset deletes the limits of people.

    Redis may have been away at the start, or have lost its data. Seen to fail with the mark of the start
    alone.
    """
    metrics = Metrics("1", tenants=(), providers=())
    with redis_servers.start_server(tmp_path) as server:
        async with ScriptClient(create_redis_lines(url=server.url, timeout_ms=5000)) as link:
            await RedisMonitor(link, metrics, "live").update_metrics()
            assert "live" == await read_mode(link)

            await RedisMonitor(link, metrics, "test").update_metrics()

            assert "live" == await read_mode(link)
            assert {"redis.url": 1} == read_issues(metrics)
            assert "is the Redis of a service in mode 'live'" in caplog.text


async def test_a_mark_is_found_in_a_redis_that_is_full(tmp_path):
    """A full Redis refuses each write, also one that would change nothing."""
    metrics = Metrics("1", tenants=(), providers=())
    with (
        redis_servers.start_server(tmp_path) as server,
        redis_servers.open_client(server) as admin,
    ):
        admin.set(MODE_KEY, "live")
        admin.config_set("maxmemory", "1")
        async with ScriptClient(create_redis_lines(url=server.url, timeout_ms=5000)) as link:
            await RedisMonitor(link, metrics, "live").update_metrics()

    assert "redis.url" not in read_issues(metrics)
